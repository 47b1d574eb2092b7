// Questions about a layout, what a model and a run demand of it, and the plan of batches that it stands for.
#include "lshdp/plan/layout.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/describe.h"

namespace lshdp::plan {
namespace {

constexpr std::array kSchedules{"1f1b", "gpipe"};
/// Longer lists of micro-batches are told by their sizes.
constexpr std::size_t kListedMicroBatches = 8;

/// The rank that holds `block` in `replica`.
std::int64_t holder_of(const Replica& replica, std::size_t block) {
  const auto holds = [block](const Stage& stage) { return stage.start <= block && block < stage.end; };
  return std::ranges::find_if(replica.stages, holds)->rank;
}

void require_model(const Layout& layout, const LayoutNeeds& needs, const std::string& source) {
  if (!layout.model.empty() && !needs.model.empty() && layout.model != needs.model) {
    throw UsageError(
        fmt::format("{}: is a layout of {}, but the model is {}; give the layout of this model, or plan "
                    "again with lshdp optimize",
                    source, layout.model, needs.model));
  }
  if (layout.blocks != needs.blocks) {
    throw UsageError(fmt::format("{}: is a layout of {} blocks, but the model has {} (lshdp describe lists them)",
                                 source, layout.blocks, needs.blocks));
  }
}

void require_ranks(const Layout& layout, std::int64_t ranks, const std::string& source) {
  for (std::size_t replica = 0; replica < layout.replicas.size(); ++replica) {
    for (const Stage& stage : layout.replicas[replica].stages) {
      if (stage.rank < ranks) continue;
      throw UsageError(
          fmt::format("{}: replicas[{}] has rank {}, but the run has {} ranks, from 0; start more ranks, "
                      "or plan again",
                      source, replica, stage.rank, ranks));
    }
  }
}

void require_together(const Layout& layout, std::size_t owner, std::size_t user, const std::string& source) {
  for (std::size_t index = 0; index < layout.replicas.size(); ++index) {
    const Replica& replica = layout.replicas[index];
    const std::int64_t first = holder_of(replica, owner), second = holder_of(replica, user);
    if (first == second) continue;
    throw UsageError(fmt::format(
        "{}: replicas[{}]: blocks {} and {} share a parameter, but are on ranks {} and {}; give the first and the last "
        "stage to one rank, with another's between them, or make them one stage",
        source, index, owner, user, first, second));
  }
}

std::string describe_sizes(const std::vector<std::int64_t>& micro_batches) {
  if (micro_batches.size() > kListedMicroBatches) return describe_micro_batches(micro_batches);
  return fmt::format("{}", fmt::join(micro_batches, "+"));
}

std::string describe(const Stage& stage) {
  if (stage.end - stage.start == 1) return fmt::format("rank {} block {}", stage.rank, stage.start);
  return fmt::format("rank {} blocks {}..{}", stage.rank, stage.start, stage.end - 1);
}

}  // namespace

std::string to_text(PipelineSchedule schedule) { return kSchedules.at(static_cast<std::size_t>(schedule)); }

PipelineSchedule pipeline_schedule_from_text(std::string_view text) {
  const auto found = std::ranges::find(kSchedules, text);
  if (found != kSchedules.end()) return static_cast<PipelineSchedule>(found - kSchedules.begin());
  throw UsageError(fmt::format("--pipeline-schedule: unknown schedule '{}'; use 1f1b or gpipe", text));
}

std::int64_t total_of(const Layout& layout) {
  std::int64_t total = 0;
  for (const Replica& replica : layout.replicas) total += replica.batch;
  return total;
}

bool is_data_parallel(const Layout& layout) {
  return std::ranges::all_of(layout.replicas, [](const Replica& replica) { return replica.stages.size() == 1; });
}

bool is_plain(const Layout& layout, std::size_t ranks) {
  return is_data_parallel(layout) && layout.replicas.size() == ranks;
}

std::optional<std::size_t> replica_of(const Layout& layout, std::int64_t rank) {
  for (std::size_t index = 0; index < layout.replicas.size(); ++index) {
    if (!stages_of(layout.replicas[index], rank).empty()) return index;
  }
  return std::nullopt;
}

std::vector<std::size_t> stages_of(const Replica& replica, std::int64_t rank) {
  std::vector<std::size_t> stages;
  for (std::size_t index = 0; index < replica.stages.size(); ++index) {
    if (replica.stages[index].rank == rank) stages.push_back(index);
  }
  return stages;
}

std::vector<int> holders_of(const Layout& layout, std::size_t block) {
  std::vector<int> ranks;
  for (const Replica& replica : layout.replicas) {
    for (const Stage& stage : replica.stages) {
      if (stage.start <= block && block < stage.end) ranks.push_back(static_cast<int>(stage.rank));
    }
  }
  std::ranges::sort(ranks);
  return ranks;
}

std::int64_t in_flight_of(const Layout& layout, std::size_t replica, std::size_t stage) {
  const Replica& of = layout.replicas.at(replica);
  const auto micro_batches = static_cast<std::int64_t>(of.micro_batches.size());
  const auto warm_up = static_cast<std::int64_t>(of.stages.size() - stage);
  const std::int64_t usual = layout.schedule == PipelineSchedule::gpipe ? micro_batches : warm_up;
  return std::min(of.stages.at(stage).in_flight.value_or(usual), micro_batches);
}

void require_fits(const Layout& layout, const LayoutNeeds& needs, std::int64_t ranks, const std::string& source) {
  require_model(layout, needs, source);
  require_ranks(layout, ranks, source);
  for (const auto& [owner, user] : needs.shared_parameters) require_together(layout, owner, user, source);
}

Plan plan_of(const Layout& layout, std::size_t ranks) {
  Plan plan;
  plan.model = layout.model;
  plan.strategy = layout.strategy;
  plan.total = total_of(layout);
  plan.predicted = layout.predicted;
  if (plan.predicted.step_seconds > 0) plan.predicted.compute_seconds.resize(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) plan.ranks.push_back({static_cast<int>(rank), "", 0, {}});
  for (const Replica& replica : layout.replicas) {
    RankPlan& first = plan.ranks.at(static_cast<std::size_t>(replica.stages.front().rank));
    first.batch = replica.batch;
    first.micro_batches = replica.micro_batches;
  }
  return plan;
}

std::optional<int> data_rank_of(const Layout& layout, std::int64_t rank) {
  const auto replica = replica_of(layout, rank);
  if (!replica) return std::nullopt;
  return static_cast<int>(layout.replicas[*replica].stages.front().rank);
}

std::vector<std::string> describe(const Layout& layout) {
  std::vector<std::string> lines;
  for (const Replica& replica : layout.replicas) {
    std::vector<std::string> stages;
    for (const Stage& stage : replica.stages) stages.push_back(describe(stage));
    lines.push_back(fmt::format("replica {}: {} samples as {}: {}", lines.size(), replica.batch,
                                describe_sizes(replica.micro_batches), fmt::join(stages, ", ")));
  }
  return lines;
}

}  // namespace lshdp::plan
