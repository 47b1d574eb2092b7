// The cost of a layout as the planner compares it: one step of its replicas together.
#pragma once
#include <cstddef>
#include <vector>

#include "lshdp/plan/layout.h"
#include "pipeline_cost.h"

namespace lshdp::plan {

/// A step and what takes it, in seconds.
struct LayoutStep {
  double seconds = 0;
  std::vector<double> compute_seconds;  // by rank of the profile: forward, backward and update
  double network_seconds = 0;           // of the busiest link
  bool bound_by_network = false;
};

/// Of a data parallel layout: as the step model has it (step_model.h) for its ranks alone, with the shards that their
/// links ask for where these make the step shorter, as solve() decides. Micro-batches must be at most max_batch.
LayoutStep data_parallel_step(const Profile& profile, const Layout& layout);

/// Of all others; `replicas` are their simulated steps.
///
///   step = max(last work + norm, busiest rank + norm, busiest link, exchanges) + boundary
///
/// A rank is busy from its first work of a step until its update is done, and the CPU time of its exchanges is spent:
/// no earlier does the next step begin on it. The gradients of a block are exchanged by the ranks that hold it, from
/// when the last of them begins its last backward until the first one ends its first forward of the next step. A link
/// carries a rank's exchanges one after the other. The norm is an all-reduce of one number. The boundary is that of the
/// first blocks' gradients, as the step model has it.
LayoutStep pipeline_step(const PipelineCost& cost, const Layout& layout, const std::vector<ReplicaStep>& replicas);

/// Either one. Stages must have their in_flight.
LayoutStep layout_step(const PipelineCost& cost, const Layout& layout);

}  // namespace lshdp::plan
