// Fewer micro-batches at a time where memory asks for it.
#include "in_flight.h"

#include <algorithm>
#include <limits>

#include "stage_memory.h"

namespace lshdp::plan {
namespace {

std::int64_t wanted(const Replica& replica, std::size_t stage, PipelineSchedule schedule, std::int64_t more) {
  const auto micro_batches = static_cast<std::int64_t>(replica.micro_batches.size());
  if (schedule == PipelineSchedule::gpipe) return micro_batches;
  const auto behind = static_cast<std::int64_t>(replica.stages.size() - 1 - stage);
  const auto all = std::max<std::int64_t>(1, static_cast<std::int64_t>(replica.stages.size()) - 1);
  return std::min(micro_batches, 1 + behind + (more * behind + all - 1) / all);
}

std::int64_t rank_bytes_of(const PipelineCost& cost, const Replica& replica, std::int64_t rank, std::size_t holders) {
  std::vector<HeldStage> held;
  for (const std::size_t stage : stages_of(replica, rank))
    held.push_back({range_of(replica.stages[stage]), replica.stages[stage].in_flight.value()});
  return rank_bytes(cost.blocks(), cost.profile().strategy, held, std::ranges::max(replica.micro_batches), holders)
      .total();
}

/// The budget; a profile may not know it.
std::int64_t memory_of(const PipelineCost& cost, const Stage& stage) {
  const std::int64_t bytes = cost.profile().ranks[rank_of(stage)].memory_bytes;
  return bytes > 0 ? bytes : std::numeric_limits<std::int64_t>::max();
}

}  // namespace

void set_in_flight(const PipelineCost& cost, Replica& replica, PipelineSchedule schedule, std::int64_t more,
                   std::size_t holders) {
  for (std::size_t stage = 0; stage < replica.stages.size(); ++stage)
    replica.stages[stage].in_flight = wanted(replica, stage, schedule, more);
  // From the first stage on: where a rank has two, the first one gives up its places.
  for (Stage& stage : replica.stages) {
    const std::int64_t most = *stage.in_flight;
    const auto too_much = [&](std::int64_t in_flight) {
      stage.in_flight = in_flight;
      return rank_bytes_of(cost, replica, stage.rank, holders) > memory_of(cost, stage);
    };
    if (!too_much(most)) continue;
    std::int64_t fits = 1, above = most;
    while (above - fits > 1) {
      const std::int64_t middle = fits + (above - fits) / 2;
      (too_much(middle) ? above : fits) = middle;
    }
    stage.in_flight = fits;
  }
}

std::vector<std::int64_t> bytes_of(const PipelineCost& cost, const Replica& replica, std::size_t holders) {
  std::vector<std::int64_t> bytes;
  for (const Stage& stage : replica.stages) bytes.push_back(rank_bytes_of(cost, replica, stage.rank, holders));
  return bytes;
}

std::optional<std::size_t> misfit_of(const PipelineCost& cost, const Replica& replica, std::size_t holders) {
  if (replica.stages.size() == 1) {
    const std::int64_t held = cost.profile().ranks[rank_of(replica.stages.front())].max_batch;
    return std::ranges::max(replica.micro_batches) > held ? std::optional<std::size_t>(0) : std::nullopt;
  }
  for (std::size_t stage = 0; stage < replica.stages.size(); ++stage) {
    const Stage& at = replica.stages[stage];
    if (rank_bytes_of(cost, replica, at.rank, holders) > memory_of(cost, at)) return stage;
  }
  return std::nullopt;
}

}  // namespace lshdp::plan
