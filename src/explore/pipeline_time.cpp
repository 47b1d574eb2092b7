// Times of pipelines.
#include "lshdp/explore/pipeline_time.h"

#include <algorithm>

namespace lshdp::explore {
namespace {

double number(std::int64_t value) { return static_cast<double>(value); }

/// Seconds a micro-batch beyond `slowest` where stages wait for gradients: stage s may hold P - s micro-batches.
double waiting(std::span<const StagePass> stages, double slowest) {
  double way = 0, period = slowest;
  for (std::size_t behind = 1; behind <= stages.size(); ++behind) {
    const StagePass& stage = stages[stages.size() - behind];
    way += stage.forward + stage.backward + (behind > 1 ? 2 * stage.send : 0);
    period = std::max(period, way / static_cast<double>(behind));
  }
  return period - slowest;
}

}  // namespace

double pipeline_seconds(std::span<const StagePass> stages, std::int64_t interleaving, std::int64_t micro_batches) {
  double slowest = 0, sum = 0, sends = 0, longest_send = 0;
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    const double pass = stages[stage].forward + stages[stage].backward;
    slowest = std::max(slowest, pass);
    sum += pass;
    if (stage + 1 == stages.size()) break;
    sends += stages[stage].send;
    longest_send = std::max(longest_send, stages[stage].send);
  }
  const auto size = static_cast<std::int64_t>(stages.size());
  const double m = number(micro_batches), v = number(interleaving);
  if (interleaving > 1) {
    const double ways = micro_batches <= size ? (number(size) * v - 1) / number(size - 1) : 1;
    return m * slowest + (sum - slowest) / v + 2 * sends * ways;
  }
  const double fill = sum + (m - 1) * slowest + (micro_batches == 1 ? 2 * sends : 4 * sends - 2 * longest_send);
  return micro_batches <= size ? fill : fill + number(micro_batches - size) * waiting(stages, slowest);
}

std::vector<plan::RankTimeline> simulate_pipeline(std::span<const StagePass> stages, std::int64_t interleaving,
                                                  std::int64_t micro_batches) {
  const auto count = static_cast<std::size_t>(micro_batches);
  plan::Replica replica{.batch = micro_batches, .micro_batches = std::vector<std::int64_t>(count, 1)};
  plan::StageCosts costs;
  std::vector<std::int64_t> in_flight;
  const std::size_t pieces = stages.size() * static_cast<std::size_t>(interleaving);
  for (std::size_t piece = 0; piece < pieces; ++piece) {
    const std::size_t rank = piece % stages.size();
    const StagePass& stage = stages[rank];
    replica.stages.push_back({.rank = static_cast<std::int64_t>(rank), .start = piece, .end = piece + 1});
    in_flight.push_back(interleaving > 1 ? micro_batches
                                         : std::min(micro_batches, static_cast<std::int64_t>(stages.size() - rank)));
    costs.forward_seconds.emplace_back(count, stage.forward / number(interleaving));
    costs.backward_seconds.emplace_back(count, stage.backward / number(interleaving));
    // From the last rank a chunk's output goes back to the first, on a link of its own.
    costs.send_seconds.emplace_back(count, piece + 1 == pieces ? 0 : stage.send);
  }
  return plan::simulate(replica, plan::PipelineSchedule::one_f_one_b, in_flight, costs);
}

double end_of(const std::vector<plan::RankTimeline>& timelines) {
  double end = 0;
  for (const plan::RankTimeline& timeline : timelines) end = std::max(end, timeline.work.back().end_seconds);
  return end;
}

}  // namespace lshdp::explore
