// How long the micro-batches of a step take to pass a pipeline: in closed form, and event by event.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "lshdp/plan/stage_schedule.h"

namespace lshdp::explore {

/// Seconds of one micro-batch in one stage, all its chunks.
struct StagePass {
  double forward = 0, backward = 0;
  double send = 0;  // to the next stage, and the gradient back
};

/// With P stages, m micro-batches, v chunks a stage, W = max(forward + backward) and S = sum(forward + backward):
///
///   1F1B         S + (m - 1) W + 4 sum(send) - 2 max(send), and past P micro-batches as long as a stage waits for
///                the way to the last stage and back: (m - P) times max over s of (way from s on)/(P - s) - W
///   interleaved  m W + (S - W)/v + 2 sum(send), each stage's once; of m = P micro-batches each piece's message is
///                waited for, P v - 1 each way
///
/// Without messages and with equal stages that is (m + (P - 1)/v)(forward + backward), Narayanan et al.'s (arXiv
/// 2104.04473, section 2.2), and what simulate() gives, exactly.
double pipeline_seconds(std::span<const StagePass> stages, std::int64_t interleaving, std::int64_t micro_batches);

/// A step's work by event simulation, the one that `train --layout` runs by (plan/stage_schedule.h); rank s is stage s.
/// Interleaved, ranks hold as many micro-batches as come: Megatron-LM's order, which memory follows, holds fewer and
/// takes as long where stages are equal. Chunks of a stage are taken as equal.
std::vector<plan::RankTimeline> simulate_pipeline(std::span<const StagePass> stages, std::int64_t interleaving,
                                                  std::int64_t micro_batches);
/// The end of the last work.
double end_of(const std::vector<plan::RankTimeline>& timelines);

}  // namespace lshdp::explore
