// In what order each rank of a pipeline does its work in a step, and when, by event simulation.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lshdp/plan/layout.h"

namespace lshdp::plan {

/// Forward or backward of one micro-batch through one stage.
struct StageWork {
  enum class Kind : std::uint8_t { forward, backward } kind = Kind::forward;
  std::size_t stage = 0, micro_batch = 0;
  bool operator==(const StageWork&) const = default;
};

struct TimedWork {
  StageWork work;
  double begin_seconds = 0, end_seconds = 0;  // from the begin of the step
};

/// What a step of one replica costs, by stage and micro-batch.
struct StageCosts {
  std::vector<std::vector<double>> forward_seconds, backward_seconds;  // [stage][micro-batch]
  /// Of what stage s gives to s + 1 (and of the gradient that comes back), on the link; [stage][micro-batch], the last
  /// stage's are 0. Each direction of each boundary carries one message at a time, beside computing.
  std::vector<std::vector<double>> send_seconds;
};

/// The costs that a layout states (Stage::predicted, in proportion to the samples of each micro-batch), or where a
/// stage states none: of every stage a second a block forward, two backward, and nothing for sending.
StageCosts stated_costs(const Replica& replica, const std::vector<std::int64_t>& micro_batches);

/// A step of `replica` whose micro-batches are those given (fewer at the end of an epoch), by rank in the order of
/// first appearance in replica.stages; each rank's work in the order of time. A rank that is free takes, of what is
/// ready: the forward of the latest stage that holds fewer micro-batches than `in_flight` (by stage) allows, else
/// the backward of the latest stage. So a stage that is full does one backward and one forward by turns. gpipe: no
/// backward before the last forward that in_flight allows. Micro-batches pass each stage in rising order, forward and
/// backward. Every order that results can be carried out without a circle of waiting ranks: it is one of time.
struct RankTimeline {
  std::int64_t rank = 0;
  std::vector<TimedWork> work;
};
std::vector<RankTimeline> simulate(const Replica& replica, PipelineSchedule schedule,
                                   const std::vector<std::int64_t>& in_flight, const StageCosts& costs);

/// The order of `rank`'s work, the same on all ranks: simulate() with stated_costs(). Empty: the rank has no stage.
std::vector<StageWork> work_order(const Layout& layout, std::size_t replica, std::int64_t rank,
                                  const std::vector<std::int64_t>& micro_batches);

}  // namespace lshdp::plan
