// From which total on computing decides the step, and no longer the network.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "lshdp/plan/profile.h"
#include "lshdp/plan/solver.h"

namespace lshdp::plan {

/// The network decides where more of the step than this is not hidden behind computing.
inline constexpr double kNetworkShare = 0.05;

/// A total whose step the network does not decide.
struct ComputeBound {
  std::int64_t total = 0;  // samples a step
  double step_seconds = 0;
  double samples_per_second = 0;
  bool accumulates = false;  // a rank runs several micro-batches
};

/// The smallest total above `plan.total`, to within 5 % (found by halving between powers of two), from which on at most
/// kNetworkShare of the step of the best split is exposed. Accumulation is allowed as far as options.max_accumulation
/// says (0: any number). None where computing decides `plan` already, where ranks cannot take such a total, or where it
/// would be above 1024 x plan.total.
std::optional<ComputeBound> compute_bound_total(const Profile& profile, const Plan& plan, const SolverOptions& options);

/// "From a total of 512 on, computing decides the step (1.2 s, 427 samples/s): the network would add less than 5 %."
std::string describe(const ComputeBound& bound);

}  // namespace lshdp::plan
