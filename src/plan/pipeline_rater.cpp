// Simulations, counted.
#include "pipeline_rater.h"

#include <algorithm>
#include <utility>

#include "in_flight.h"
#include "layout_cost.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kAllFlights = 8;  // micro-batches up to which every in_flight is tried
constexpr double kFarOff = 1.03;     // if all in flight are so far from what is to beat, so are fewer (seen: 2 % less)
constexpr double kNearBound = 1.01;  // nothing in flight makes a step shorter than its bound

Replica replica_of(const PipelineShape& shape, std::int64_t batch, std::int64_t count) {
  Replica replica{.batch = batch, .micro_batches = near_equal(batch, count)};
  for (std::size_t stage = 0; stage < shape.stages(); ++stage)
    replica.stages.push_back(
        {.rank = static_cast<std::int64_t>(shape.ranks[stage]), .start = shape.start(stage), .end = shape.ends[stage]});
  return replica;
}

}  // namespace

const StageLoads& PipelineRater::loads(std::int64_t count) {
  const auto found = loads_.find(count);
  if (found != loads_.end()) return found->second;
  return loads_.emplace(count, StageLoads(cost_, task_.ranks, near_equal(task_.batch, count))).first->second;
}

std::optional<RatedReplica> PipelineRater::rate_in_flight(const PipelineShape& shape, std::int64_t count,
                                                          std::int64_t more) {
  Replica replica = replica_of(shape, task_.batch, count);
  set_in_flight(cost_, replica, schedule_, more, task_.holders);
  if (misfit_of(cost_, replica, task_.holders)) {
    note_misfit(replica);
    return std::nullopt;
  }
  spend(2 * count * static_cast<std::int64_t>(shape.stages()));
  Layout layout{.blocks = rules_.blocks(), .schedule = schedule_, .replicas = {std::move(replica)}};
  ReplicaStep step = cost_.step(layout.replicas.front(), schedule_);
  const double seconds = pipeline_step(cost_, layout, {step}).seconds;
  for (const std::size_t rank : shape.ranks) {
    double& least = notes_.least_with[rank];
    least = least == 0 ? seconds : std::min(least, seconds);
  }
  return RatedReplica{std::move(layout.replicas.front()), std::move(step), seconds};
}

std::vector<RatedReplica> PipelineRater::rate_all(const PipelineShape& shape, std::int64_t count) {
  std::vector<RatedReplica> rated;
  for (std::int64_t more = 0; more <= (is_gpipe() ? 0 : count); ++more) {
    std::optional<RatedReplica> one = rate_in_flight(shape, count, more);
    if (!one) break;
    if (rated.empty() || one->replica != rated.back().replica) rated.push_back(std::move(*one));
  }
  return rated;
}

/// What a first stage of `stages` may hold on top, of `count` micro-batches: every number, or where there are many,
/// all, none, and some between.
std::vector<std::int64_t> PipelineRater::flights(std::int64_t stages, std::int64_t count) const {
  if (is_gpipe()) return {0};
  std::vector<std::int64_t> values{count, 0};
  for (std::int64_t more = count <= kAllFlights ? 1 : stages - 1; more < count;
       more = count <= kAllFlights ? more + 1 : 2 * more)
    values.push_back(more);
  return values;
}

std::optional<RatedReplica> PipelineRater::rate(const PipelineShape& shape, std::int64_t count, double to_beat) {
  spend(static_cast<std::int64_t>(shape.stages()));
  if (!rules_.allows(shape)) return std::nullopt;
  const double least = least_seconds(loads(count), shape);
  if (least >= to_beat) return std::nullopt;
  const bool many = count > kAllFlights;
  std::optional<RatedReplica> best;
  for (const std::int64_t more : flights(static_cast<std::int64_t>(shape.stages()), count)) {
    std::optional<RatedReplica> rated = rate_in_flight(shape, count, more);
    if (!rated || (many && more == count && rated->seconds >= kFarOff * to_beat)) break;
    if (rated->seconds < to_beat && (!best || rated->seconds < best->seconds)) best = std::move(rated);
    if (many && best && best->seconds < kNearBound * least) break;
  }
  return best;
}

void PipelineRater::note_misfit(const Replica& replica) {
  double lacks = 0;
  const std::vector<std::int64_t> bytes = bytes_of(cost_, replica, task_.holders);
  for (std::size_t stage = 0; stage < bytes.size(); ++stage) {
    const auto budget = static_cast<double>(cost_.profile().ranks[rank_of(replica.stages[stage])].memory_bytes);
    if (budget > 0) lacks = std::max(lacks, static_cast<double>(bytes[stage]) / budget);
  }
  if (notes_.misfit && lacks >= notes_.misfit_lacks) return;
  notes_.misfit = replica;
  notes_.misfit_lacks = lacks;
}

}  // namespace lshdp::plan
