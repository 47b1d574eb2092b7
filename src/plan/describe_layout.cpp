// Tables of a layout.
#include "lshdp/plan/describe_layout.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/core/text.h"
#include "lshdp/plan/describe.h"

namespace lshdp::plan {
namespace {

constexpr std::size_t kMostStages = 128;
constexpr std::size_t kMostLeftOut = 16;

std::string blocks_of(const Stage& stage) {
  if (stage.end - stage.start == 1) return std::to_string(stage.start);
  return fmt::format("{}..{}", stage.start, stage.end - 1);
}

std::string kind_of(const Layout& layout) {
  if (is_data_parallel(layout)) return layout.replicas.size() == 1 ? "one rank" : "data parallel";
  const std::string schedule = to_text(layout.schedule);
  if (layout.replicas.size() == 1) return "one pipeline, " + schedule;
  return fmt::format("{} replicas, {}", layout.replicas.size(), schedule);
}

std::vector<std::string> stage_row(const Profile& profile, const LayoutPrediction& prediction, std::size_t replica,
                                   const Stage& stage) {
  const Replica& of = prediction.layout.replicas[replica];
  const auto rank = static_cast<std::size_t>(stage.rank);
  const StageTime time = stage.predicted.value_or(StageTime{});
  const bool first = &stage == &of.stages.front(), last = &stage == &of.stages.back();
  return {first ? std::to_string(replica) : "",
          first ? format_count(of.batch) : "",
          first ? describe_micro_batches(of.micro_batches) : "",
          std::to_string(rank),
          profile.ranks[rank].host,
          blocks_of(stage),
          fmt::format("{}", stage.in_flight.value_or(1)),
          format_seconds(time.forward_seconds),
          format_seconds(time.backward_seconds),
          last ? "-" : format_seconds(time.send_seconds),
          format_size(stage.predicted_bytes),
          format_size(profile.ranks[rank].memory_bytes),
          fmt::format("{:.0f} %", 100 * prediction.idle_share[rank])};
}

std::string stage_table(const Profile& profile, const LayoutPrediction& prediction) {
  Table table({"replica", "samples", "micro-batches", "rank", "host", "blocks", "in flight", "forward", "backward",
               "send", "memory", "of", "idle"});
  std::size_t stages = 0;
  for (std::size_t replica = 0; replica < prediction.layout.replicas.size(); ++replica) {
    for (const Stage& stage : prediction.layout.replicas[replica].stages) {
      if (++stages <= kMostStages) table.add(stage_row(profile, prediction, replica, stage));
    }
  }
  std::string text = table.to_string();
  if (stages > kMostStages) text += fmt::format(".. and {} more stages\n", stages - kMostStages);
  return text + "(forward, backward and send: of the largest micro-batch)\n";
}

std::string heading(const Profile& profile, const Layout& layout) {
  std::size_t used = 0;
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
    if (replica_of(layout, static_cast<std::int64_t>(rank))) ++used;
  }
  return fmt::format("{} samples a step of {} ({}, {}) over {} of {} rank{}: {}\n\n", format_count(total_of(layout)),
                     profile.model, describe_mode(profile.strategy), describe_numbers(profile.strategy), used,
                     profile.ranks.size(), profile.ranks.size() == 1 ? "" : "s", kind_of(layout));
}

std::string step_line(const LayoutPrediction& prediction) {
  const Prediction& predicted = prediction.layout.predicted;
  std::string text =
      fmt::format("A step takes {}, {:.3g} samples/s, bound by {}.", format_seconds(predicted.step_seconds),
                  predicted.samples_per_second, prediction.bound_by);
  if (predicted.communication_seconds > 0)
    text += fmt::format(" The busiest link is busy for {}.", format_seconds(predicted.communication_seconds));
  return text + '\n';
}

/// What the profile itself doubts, and micro-batches beyond what was timed.
std::string doubts(const Profile& profile, const Layout& layout) {
  Plan plan = plan_of(layout, profile.ranks.size());
  for (const Replica& replica : layout.replicas) {
    for (const Stage& stage : replica.stages)
      plan.ranks[static_cast<std::size_t>(stage.rank)].micro_batches = replica.micro_batches;
  }
  std::string text;
  for (const std::string& doubt : describe_doubts(profile, plan)) text += doubt + '\n';
  return text;
}

std::string alternatives_table(const LayoutSolution& solution) {
  const double step = solution.layout.predicted.step_seconds;
  Table table({"layout", "step", "times as long", ""});
  for (const LayoutAlternative& alternative : solution.alternatives) {
    if (alternative.step_seconds == 0) {
      table.add({alternative.name, "-", "-", alternative.why_not});
    } else {
      table.add({alternative.name, format_seconds(alternative.step_seconds),
                 fmt::format("{:.2f}", alternative.step_seconds / step), ""});
    }
  }
  return table.to_string();
}

std::string least_line(const LayoutSolution& solution) {
  const double lost = solution.layout.predicted.step_seconds / solution.least_step_seconds;
  return fmt::format(
      "No layout takes less than {}, all ranks computing without a break: at most {:.2f} times as fast.\n",
      format_seconds(solution.least_step_seconds), lost);
}

}  // namespace

std::string describe(const Profile& profile, const LayoutPrediction& prediction) {
  return heading(profile, prediction.layout) + stage_table(profile, prediction) + '\n' + step_line(prediction) +
         doubts(profile, prediction.layout);
}

std::string describe(const Profile& profile, const LayoutSolution& solution) {
  std::string text = describe(profile, LayoutPrediction{solution.layout, solution.idle_share, solution.bound_by});
  text += least_line(solution) + '\n' + alternatives_table(solution);
  for (std::size_t i = 0; i < solution.left_out.size(); ++i) {
    if (i == kMostLeftOut) {
      text += fmt::format(".. and {} more ranks are left out.\n", solution.left_out.size() - i);
      break;
    }
    text += solution.left_out[i] + '\n';
  }
  return text;
}

}  // namespace lshdp::plan
