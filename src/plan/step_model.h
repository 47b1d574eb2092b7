// What a step costs beside the micro-batches: the network's part, fixed by the profile, whatever the split.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"
#include "micro_batches.h"

namespace lshdp::plan {

/// One all-reduce of `bytes` over `ranks` ranks, in seconds: between measured points by interpolation (monotone), below
/// them the smallest point's time (latency), above them the largest point's plus 2(N-1)/N of the rest at the link's
/// rate. 0 for one rank, no bytes, or no network (bytes_per_second 0).
double all_reduce_seconds(const NetworkProfile& network, std::size_t ranks, std::int64_t bytes);

/// By rank: what it sends and receives in a step, in bytes; 0 without a network.
std::vector<double> moved_bytes(const Profile& profile, const ShardWeights& shards);

/// Whether shards of unequal size are used: where they make the step plainly shorter.
bool worth_unequal_shards(double unequal_step_seconds, double equal_step_seconds);

/// The step model (docs/solver.md, "The step model"):
///
///   step = max(max over r of f_r(B_r) + fixed_seconds[r], network_r(B_r), wire_seconds) + exposed_seconds
///
/// where network_r is what cutting a batch costs the network (SplitTime::network).
/// A step reduce-scatters gradient_bytes and all-gathers parameter_bytes: the traffic of one all-reduce of their mean.
/// All of this is for shards of the given weights (link_shares.h).
struct StepModel {
  StepModel(const Profile& profile, const ShardWeights& shards);

  /// From rank times (micro-batches plus fixed_seconds, or what they make the network wait) to the step.
  double step_seconds(double slowest_rank_seconds) const;
  WireTime wire() const { return {wire_seconds, every_pass}; }

  double wire_seconds = 0;     // the step's transfers, if nothing else happened; shorter with shares of unequal size
  bool every_pass = false;     // wire_seconds are those of one micro-batch (fsdp)
  double exposed_seconds = 0;  // the first block's all-reduce, which no compute hides, times exposed_factor
  std::vector<double> update_seconds;  // by rank: of its share
  /// By rank, whatever its batch: the update of its share, and the CPU time of its transfers divided by the cores
  /// it has where they run on the cores that compute (device "cpu").
  std::vector<double> fixed_seconds;
};

}  // namespace lshdp::plan
