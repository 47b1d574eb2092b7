// Rebalancer: decides between two steps whether the ranks get another split, from how long they really computed.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"
#include "lshdp/plan/step_windows.h"

namespace lshdp::plan {

struct StepModel;

struct RebalanceOptions {
  std::int64_t max_accumulation = 0;  // micro-batches a rank may run in a step; 0: any number
  double min_gain = 0.05;             // share of the step that a new split must save
  double window_seconds = 1;          // a window is as many steps as last so long, but at least 3 and at most 10
};

/// A new split of the same total.
struct Rebalance {
  std::vector<std::int64_t> batches;
  std::vector<double> slowness;      // by rank: how many times as long as profiled it computes now
  double step_seconds = 0;           // measured with the split so far
  double expected_step_seconds = 0;  // with the new one
};

/// Watches a run and solves its split again where ranks have drifted from their profile.
///
/// A rank's slowness is the time its batch took over the time the profile says; a rank with batch 0 is judged by its
/// optimizer work alone. Shards stay as the plan has them. What the profile says of the network is taken to stay true.
/// A new split is taken only where it saves min_gain in each of the last two windows of steps (their medians: one odd
/// step moves nothing). Where a split does not keep half of what it promised, twice the gain is asked of the next.
class Rebalancer {
 public:
  /// `profile`: what the ranks can do, as it was planned with (alike_ranks.h); none: learnt from the first windows as
  /// time in proportion to samples, with no micro-batch larger than the plan's own (a rank without samples then stays
  /// without).
  Rebalancer(Plan plan, std::optional<Profile> profile, const RebalanceOptions& options);

  const Plan& plan() const { return plan_; }
  /// A step of `total` samples. Steps that began with an earlier split are passed over.
  void observe(const StepObservation& step);
  /// A split that is worth changing to, if there is one.
  std::optional<Rebalance> decide();
  /// From step `first` on, ranks follow `change`.
  void apply(const Rebalance& change, std::int64_t first);

 private:
  std::vector<double> slowness_in(Steps steps) const;
  double slowness_of(std::size_t rank, const StepModel& model, double compute_seconds, double wait_seconds) const;
  double gain_of(const std::vector<std::int64_t>& batches, const std::vector<double>& slowness,
                 double step_seconds) const;

  Plan plan_;
  std::optional<Profile> profile_;
  RebalanceOptions options_;
  StepWindows windows_;           // of the current split
  std::vector<double> slowness_;  // by rank, as last decided
  std::int64_t first_step_ = 0;   // of the current split
  RequiredGain required_gain_;
};

/// The profile of ranks that have become `slowness` times as slow (one per rank): compute, update, and the CPU time of
/// transfers.
Profile slowed(Profile profile, std::span<const double> slowness);

}  // namespace lshdp::plan
