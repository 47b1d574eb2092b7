// Seconds and bytes by stage, the prediction by rank.
#include "filled_layout.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "in_flight.h"
#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

void fill_stages(const PipelineCost& cost, Replica& replica, std::size_t holders) {
  const std::int64_t samples = std::ranges::max(replica.micro_batches);
  const std::vector<std::int64_t> bytes = bytes_of(cost, replica, holders);
  for (std::size_t stage = 0; stage < replica.stages.size(); ++stage) {
    replica.stages[stage].predicted = cost.stage_time(replica, stage, samples);
    replica.stages[stage].predicted_bytes = bytes[stage];
  }
}

Prediction prediction_of(const Layout& layout, const LayoutStep& step) {
  Prediction predicted;
  predicted.step_seconds = step.seconds;
  predicted.samples_per_second = static_cast<double>(total_of(layout)) / step.seconds;
  predicted.compute_seconds = step.compute_seconds;
  predicted.communication_seconds = step.network_seconds;
  predicted.exposed_seconds = step.seconds - std::ranges::max(step.compute_seconds);
  return predicted;
}

std::string bound_by(const Profile& profile, const LayoutStep& step) {
  if (step.bound_by_network) return "the network";
  const auto busiest = std::ranges::max_element(step.compute_seconds);
  const auto rank = static_cast<std::size_t>(busiest - step.compute_seconds.begin());
  return fmt::format("compute of rank {} ({}), busy for {:.0f} % of the step", rank, profile.ranks[rank].host,
                     100 * *busiest / step.seconds);
}

std::string blocks_of(const Stage& stage) {
  if (stage.end - stage.start == 1) return fmt::format("block {}", stage.start);
  return fmt::format("blocks {}..{}", stage.start, stage.end - 1);
}

}  // namespace

std::int64_t largest_micro_batch(const Layout& layout) {
  std::int64_t largest = 1;
  for (const Replica& replica : layout.replicas) largest = std::max(largest, std::ranges::max(replica.micro_batches));
  return largest;
}

LayoutPrediction filled(const PipelineCost& cost, Layout layout, const LayoutStep& step) {
  for (Replica& replica : layout.replicas) fill_stages(cost, replica, layout.replicas.size());
  layout.model = cost.profile().model;
  layout.strategy = cost.profile().strategy;
  layout.blocks = cost.blocks().blocks();
  layout.predicted = prediction_of(layout, step);
  LayoutPrediction prediction{.layout = {}, .idle_share = {}, .bound_by = bound_by(cost.profile(), step)};
  for (const double seconds : step.compute_seconds)
    prediction.idle_share.push_back(std::max(0.0, 1 - seconds / step.seconds));
  prediction.layout = std::move(layout);
  return prediction;
}

std::string describe_misfit(const PipelineCost& cost, const Layout& layout, std::size_t replica, std::size_t stage) {
  const Replica& of = layout.replicas[replica];
  const Stage& at = of.stages[stage];
  const RankProfile& rank = cost.profile().ranks[rank_of(at)];
  const std::string help = "give it fewer blocks or smaller micro-batches, more memory (--memory), or --recompute";
  if (of.stages.size() == 1) {
    return fmt::format("rank {} ({}) holds the whole model with at most {} samples a micro-batch, not {}; {}",
                       rank.rank, rank.host, rank.max_batch, std::ranges::max(of.micro_batches), help);
  }
  return fmt::format(
      "stage {} of replica {} ({} on rank {} ({}), {} micro-batches of {} samples at a time) needs {}, "
      "but the rank has {}; {}",
      stage, replica, blocks_of(at), rank.rank, rank.host, at.in_flight.value(), std::ranges::max(of.micro_batches),
      format_size(bytes_of(cost, of, layout.replicas.size())[stage]), format_size(rank.memory_bytes), help);
}

}  // namespace lshdp::plan
