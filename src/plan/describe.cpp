// Tables of a solution.
#include "lshdp/plan/describe.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/text.h"
#include "lshdp/plan/leave_out.h"
#include "lshdp/plan/link_shares.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

constexpr std::size_t kMaxRanks = 64;
constexpr std::size_t kMaxTotals = 12;
constexpr std::size_t kMaxLinks = 8;
constexpr double kLargestRate = 1e18;

std::string rate(double samples_per_second) {
  if (samples_per_second < 100) return fmt::format("{:.3g}", samples_per_second);
  return format_count(static_cast<std::int64_t>(samples_per_second + 0.5));
}

std::string rank_table(const Profile& profile, const Plan& plan) {
  std::vector<std::string> header{"rank",    "host",  "device",        "speed",   "samples/s",
                                  "largest", "batch", "micro-batches", "compute", "idle"};
  if (!plan.shard_weights.empty()) header.push_back("own %");
  Table table(header);
  const std::size_t shown = std::min(plan.ranks.size(), kMaxRanks);
  const auto owned =
      static_cast<double>(std::accumulate(plan.shard_weights.begin(), plan.shard_weights.end(), std::int64_t{0}));
  for (std::size_t rank = 0; rank < shown; ++rank) {
    const RankProfile& measured = profile.ranks[rank];
    const double compute = plan.predicted.compute_seconds[rank];
    std::vector<std::string> row{std::to_string(rank),
                                 measured.host,
                                 measured.device,
                                 fmt::format("{:.3g}", measured.speed),
                                 rate(TimeCurve(measured).best_samples_per_second()),
                                 describe_max_batch(measured),
                                 format_count(plan.ranks[rank].batch),
                                 describe_micro_batches(plan.ranks[rank].micro_batches),
                                 format_seconds(compute),
                                 format_seconds(std::max(plan.predicted.step_seconds - compute, 0.0))};
    if (!plan.shard_weights.empty())
      row.push_back(fmt::format("{:.1f}", 100 * static_cast<double>(plan.shard_weights[rank]) / owned));
    table.add(std::move(row));
  }
  std::string text = table.to_string();
  if (shown < plan.ranks.size()) text += fmt::format(".. and {} more ranks\n", plan.ranks.size() - shown);
  return text;
}

/// One row of the comparison; `gain` is how many times as long as the plan's step this split's step is.
std::vector<std::string> split_row(const std::string& name, const std::optional<Prediction>& split, double plan_step) {
  if (!split) return {name, "does not fit", "", ""};
  return {name, format_seconds(split->step_seconds), rate(split->samples_per_second),
          fmt::format("{:.2f}", split->step_seconds / plan_step)};
}

std::string comparison_table(const Solution& solution) {
  const double step = solution.plan.predicted.step_seconds;
  Table table({"split", "step", "samples/s", "times as long"});
  table.add(split_row("this plan", solution.plan.predicted, step));
  table.add(split_row("proportional to speed", solution.proportional_split, step));
  table.add(split_row("equal", solution.equal_split, step));
  return table.to_string();
}

std::string binding_line(const Solution& solution) {
  const Prediction& predicted = solution.plan.predicted;
  std::string text = fmt::format("The step is bound by {}.", solution.bound_by);
  if (predicted.communication_seconds > 0) {
    text += fmt::format(" The network is busy for {}; {} of the step are not hidden behind compute.",
                        format_seconds(predicted.communication_seconds), format_seconds(predicted.exposed_seconds));
  }
  return text + '\n';
}

/// How the plan's steps send.
std::string transfer_line(const Plan& plan) {
  return plan.transfer ? fmt::format("Sizes in flight for this network: {}.\n", describe(*plan.transfer)) : "";
}

std::string link_rate(double bytes_per_second) {
  return format_size(static_cast<std::int64_t>(std::min(bytes_per_second, kLargestRate))) + "/s";
}

/// "12.4 MiB/s on rank 2 (node2)", the slowest first, those within noise of the fastest left out.
std::string slow_links(const Profile& profile, const std::vector<double>& links) {
  std::vector<std::pair<double, std::size_t>> slow;
  const double fastest = std::ranges::max(links);
  for (std::size_t rank = 0; rank < links.size(); ++rank) {
    if (links[rank] < fastest) slow.emplace_back(profile.ranks[rank].link_bytes_per_second, rank);
  }
  std::ranges::sort(slow);
  std::vector<std::string> parts;
  for (const auto& [bytes, rank] : slow) {
    parts.push_back(parts.size() == kMaxLinks
                        ? fmt::format("and {} more", slow.size() - kMaxLinks)
                        : fmt::format("{} on rank {} ({})", link_rate(bytes), rank, profile.ranks[rank].host));
    if (parts.size() > kMaxLinks) break;
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// What slow links do to the plan; empty where links are alike or not known.
std::string links_lines(const Profile& profile, const Solution& solution) {
  const std::vector<double> rates = link_rates(profile), links = relative_links(rates);
  if (links.empty()) return "";
  std::string text = fmt::format("Links differ: {}; up to {} elsewhere.", slow_links(profile, links),
                                 link_rate(std::ranges::max(rates)));
  if (!traits_of(profile.strategy.mode).weights_shards) return text + '\n';
  if (!solution.equal_shards) return text + " Shards are equal: others would not make the step shorter.\n";
  const double step = solution.plan.predicted.step_seconds, equal = solution.equal_shards->step_seconds;
  return text + fmt::format(
                    " A slow one carries less: shards are unequal (see own %).\nWith equal shards the step "
                    "would take {}, {:.2f} times as long.\n",
                    format_seconds(equal), equal / step);
}

/// Indices of at most kMaxTotals points spread over the frontier, with those that were chosen among them.
std::set<std::size_t> shown_points(const std::vector<FrontierPoint>& frontier, const TotalChoice& choice) {
  std::set<std::size_t> shown;
  const std::size_t last = frontier.size() - 1;
  for (std::size_t i = 0; i < frontier.size(); ++i) {
    if (frontier[i].total == choice.total || frontier[i].total == choice.best_total) shown.insert(i);
  }
  for (std::size_t i = 0; i + 2 < kMaxTotals; ++i) shown.insert(last * i / (kMaxTotals - 3));
  return shown;
}

const char* mark_of(const FrontierPoint& point, const Solution& solution) {
  if (point.total == solution.plan.total) return "<- this plan";
  return solution.total_choice && point.total == solution.total_choice->best_total ? "most samples/s within the bound"
                                                                                   : "";
}

std::string frontier_table(const Solution& solution) {
  Table table({"total", "step", "samples/s", ""});
  for (const std::size_t i : shown_points(solution.frontier, solution.total_choice.value_or(TotalChoice{}))) {
    const FrontierPoint& point = solution.frontier[i];
    table.add({format_count(point.total), format_seconds(point.step_seconds), rate(point.samples_per_second),
               mark_of(point, solution)});
  }
  return "Other totals (a larger one also changes training):\n" + table.to_string();
}

}  // namespace

std::string describe_micro_batches(const std::vector<std::int64_t>& micro_batches) {
  std::vector<std::string> parts;
  for (auto at = micro_batches.begin(); at != micro_batches.end();) {
    const auto next = std::find_if(at, micro_batches.end(), [&](std::int64_t size) { return size != *at; });
    parts.push_back(fmt::format("{} x {}", next - at, *at));
    at = next;
  }
  return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, " + "));
}

std::string describe_total(const TotalChoice& choice, const SolverOptions& options) {
  std::string text =
      fmt::format("No --total: {} is the smallest with at least {:g} % of the most samples/s ({} at a total of {})",
                  format_count(choice.total), 100 * options.throughput_share, rate(choice.best_samples_per_second),
                  format_count(choice.best_total));
  text += fmt::format(" of totals up to {}", format_count(choice.limit));
  if (options.total_bound > 0) {
    text +=
        fmt::format(": {:g} times the {} that equal batches take by the same rule (--total-bound), or what there is",
                    options.total_bound, format_count(choice.equal_total));
  }
  return text + ".";
}

std::string describe_max_batch(const RankProfile& rank) {
  switch (rank.max_batch_from) {
    case MaxBatchFrom::measured:
      break;
    case MaxBatchFrom::estimated:
      return "~" + format_count(rank.max_batch);
    case MaxBatchFrom::limit:
      return format_count(rank.max_batch) + "+";
  }
  return format_count(rank.max_batch);
}

std::vector<std::string> describe_doubts(const Profile& profile, const Plan& plan) {
  std::vector<std::string> sentences;
  for (const std::string& reason : profile.disturbed)
    sentences.push_back("The profile is disturbed: " + reason + "; measure again where nothing else runs.");
  std::vector<std::string> beyond;
  for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    const std::int64_t timed = TimeCurve(profile.ranks[rank]).measured_to();
    const auto& sizes = plan.ranks[rank].micro_batches;
    const std::int64_t planned = sizes.empty() ? 0 : std::ranges::max(sizes);
    if (planned > timed) beyond.push_back(fmt::format("rank {} {} (timed up to {})", rank, planned, timed));
  }
  if (beyond.empty()) return sentences;
  if (beyond.size() > kMaxLinks) {
    const std::size_t more = beyond.size() - kMaxLinks;
    beyond.resize(kMaxLinks);
    beyond.push_back(fmt::format("and {} more", more));
  }
  sentences.push_back(
      fmt::format("Micro-batches beyond what was timed, their time extrapolated: {}.", fmt::join(beyond, ", ")));
  return sentences;
}

std::string describe(const Profile& profile, const Solution& solution, const SolverOptions& options) {
  const Plan& plan = solution.plan;
  std::string text = fmt::format("{} samples a step of {} ({}, {}) over {} rank{}\n\n", format_count(plan.total),
                                 plan.model, describe_mode(profile.strategy), describe_numbers(profile.strategy),
                                 plan.ranks.size(), plan.ranks.size() == 1 ? "" : "s");
  text += rank_table(profile, plan) + '\n' + comparison_table(solution) + '\n' + binding_line(solution) +
          transfer_line(plan) + links_lines(profile, solution) +
          (plan.leave_out ? describe_leave_out(plan) + '\n' : "");
  for (const std::string& doubt : describe_doubts(profile, plan)) text += doubt + '\n';
  if (solution.total_choice) text += '\n' + describe_total(*solution.total_choice, options) + '\n';
  if (!solution.frontier.empty()) text += '\n' + frontier_table(solution);
  return text;
}

std::string describe_scale(const Plan& plan, const std::vector<ScalePoint>& points) {
  const double rate_of_rank = plan.predicted.samples_per_second / static_cast<double>(plan.ranks.size());
  Table table({"ranks", "total", "step", "network", "samples/s", "efficiency"});
  const auto row = [&](std::int64_t ranks, const Plan& at) {
    const Prediction& step = at.predicted;
    table.add({format_count(ranks), format_count(at.total), format_seconds(step.step_seconds),
               format_seconds(step.communication_seconds), rate(step.samples_per_second),
               fmt::format("{:.1f} %", 100 * step.samples_per_second / (static_cast<double>(ranks) * rate_of_rank))});
  };
  row(static_cast<std::int64_t>(plan.ranks.size()), plan);
  for (const ScalePoint& point : points) row(point.ranks, point.plan);
  return "Predicted on more ranks, a total in proportion. Assumed: ranks as those measured, in turn; links as fast as "
         "measured,\nall at once; the ring's latency grows with its length, its traffic per link as (N-1)/N; updates "
         "shrink with their shares.\n" +
         table.to_string();
}

}  // namespace lshdp::plan
