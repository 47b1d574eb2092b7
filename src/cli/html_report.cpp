// The sections of the page.
#include "html_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "chart.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/strategy.h"
#include "run_figures.h"
#include "run_spans.h"

namespace lshdp::cli {
namespace {

using train::StepRecord;

constexpr std::size_t kMostColumns = 180;
constexpr double kTracedSteps = 3;

// Colours that the colour-blind tell apart (Okabe and Ito), darker and lighter grounds alike.
constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ground: #fff; --text: #1a1a1a; --faint: #8886; --panel: #8881; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --text: #e6e6e6; } }
body { background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, sans-serif; max-width: 62rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem .9rem .2rem 0; vertical-align: top;
       border-bottom: 1px solid var(--faint); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n { white-space: nowrap; }
figure { margin: 1rem 0; background: var(--panel); border-radius: 6px; padding: .6rem .8rem; }
svg { width: 100%; height: auto; display: block; } svg text { font-size: 11px; fill: var(--text); }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; padding: 0; }
.tiles div { background: var(--panel); border-radius: 6px; padding: .5rem .9rem; } .tiles b { display: block;
       font-size: 1.15rem; } .key { margin-left: .9rem; white-space: nowrap; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: 2px; }
.grid { stroke: var(--faint); stroke-width: 1; fill: none; } .line { fill: none !important; stroke-width: 1.6; }
.hover { fill: transparent; } .hover:hover { fill: #8883; } pre { white-space: pre-wrap; background: var(--panel);
       border-radius: 6px; padding: .6rem .8rem; } .scroll { overflow-x: auto; }
.c0 { fill: #0072b2; stroke: none; } .line.c0 { stroke: #0072b2; } i.c0 { background: #0072b2; }
.c1 { fill: #e69f00; stroke: none; } .line.c1 { stroke: #e69f00; } i.c1 { background: #e69f00; }
.c2 { fill: #009e73; stroke: none; } .line.c2 { stroke: #009e73; } i.c2 { background: #009e73; }
.c3 { fill: #cc79a7; stroke: none; } .line.c3 { stroke: #cc79a7; } i.c3 { background: #cc79a7; }
.c4 { fill: #9a9a9a; stroke: none; } .line.c4 { stroke: #9a9a9a; } i.c4 { background: #9a9a9a; }
)";

std::string section(std::string_view title, const std::string& body) {
  return fmt::format("<section><h2>{}</h2>\n{}</section>\n", html_text(title), body);
}

using Cells = std::vector<std::string>;

/// Columns from `numbers` on stand to the right.
std::string table(const Cells& header, const std::vector<Cells>& rows, std::size_t numbers) {
  const auto row_text = [&](const Cells& cells, const char* tag) {
    std::string text = "<tr>";
    for (std::size_t i = 0; i < cells.size(); ++i)
      text += fmt::format("<{0}{1}>{2}</{0}>", tag, i >= numbers ? " class=\"n\"" : "", html_text(cells[i]));
    return text + "</tr>\n";
  };
  std::string text = "<div class=\"scroll\"><table>" + (header.empty() ? "" : row_text(header, "th"));
  for (const Cells& row : rows) text += row_text(row, "td");
  return text + "</table></div>\n";
}

std::string difference(double planned, double measured) {
  return measured > 0 ? fmt::format("{:+.1f} %", 100 * (planned / measured - 1)) : "-";
}

std::string tile(std::string_view name, const std::string& value) {
  return fmt::format("<div>{}<b>{}</b></div>", html_text(name), html_text(value));
}

std::string tiles(const RunDirectory& run, const RunFigures& figures) {
  const StepRecord& last = run.steps.back();
  std::string text = tile("steps", format_count(last.step)) + tile("loss", fmt::format("{:.4f}", last.loss));
  if (!run.evaluations.empty()) {
    text += tile("evaluation loss", fmt::format("{:.4f}", run.evaluations.back().loss));
    if (run.evaluations.back().accuracy)
      text += tile("accuracy", fmt::format("{:.2f} %", 100 * *run.evaluations.back().accuracy));
  }
  text += tile("step (median)", format_seconds(figures.median_step));
  text += tile("samples/s", fmt::format("{:.4g}", figures.samples_per_second));
  if (run.run.tokens_per_sample > 0)
    text +=
        tile("tokens/s",
             format_count(std::llround(figures.samples_per_second * static_cast<double>(run.run.tokens_per_sample))));
  if (last.model_flops_utilization) text += tile("MFU", fmt::format("{:.1f} %", 100 * *last.model_flops_utilization));
  return "<div class=\"tiles\">" + text + "</div>\n";
}

template <typename Value>
std::vector<Point> points_of(const std::vector<StepRecord>& steps, Value value) {
  std::vector<Point> points;
  for (const StepRecord& step : steps) points.push_back({static_cast<double>(step.step), value(step)});
  return points;
}

std::string curves(const RunDirectory& run) {
  std::vector<Point> losses, accuracies;
  for (const train::EvaluationRecord& evaluation : run.evaluations) {
    const auto step = static_cast<double>(evaluation.step);
    losses.push_back({step, evaluation.loss});
    if (evaluation.accuracy) accuracies.push_back({step, 100 * *evaluation.accuracy});
  }
  std::vector<Series> loss{{"training", "c0", points_of(run.steps, [](const StepRecord& s) { return s.loss; })}};
  if (!losses.empty()) loss.push_back({"evaluation", "c1", losses, true});
  std::string text = line_chart("Loss", "step", loss);
  if (!accuracies.empty()) text += line_chart("Accuracy of evaluations, %", "step", {{"", "c2", accuracies, true}});
  text += line_chart("Learning rate", "step",
                     {{"", "c2", points_of(run.steps, [](const StepRecord& s) { return s.learning_rate; })}});
  text += line_chart("Gradient norm, before clipping", "step",
                     {{"", "c3", points_of(run.steps, [](const StepRecord& s) { return s.gradient_norm; })}});
  text += line_chart("Samples per second", "step",
                     {{"", "c0", points_of(run.steps, [](const StepRecord& s) {
                         return s.step_seconds > 0 ? static_cast<double>(s.samples) / s.step_seconds : std::nan("");
                       })}});
  return text;
}

/// Means over the steps [begin, end) of the launch.
Column column_of(const RunDirectory& run, std::size_t begin, std::size_t end, std::size_t rank) {
  double compute = 0, wait = 0, all = 0;
  for (std::size_t i = begin; i < end; ++i) {
    const StepRecord& step = run.steps[i];
    compute += step.compute_seconds[rank];
    wait += step.wait_seconds[rank];
    all += rank < step.rank_seconds.size() ? step.rank_seconds[rank] : step.step_seconds;
  }
  const auto count = static_cast<double>(end - begin);
  const std::string steps = end - begin == 1
                                ? fmt::format("step {}", run.steps[begin].step)
                                : fmt::format("steps {} to {}", run.steps[begin].step, run.steps[end - 1].step);
  return {fmt::format("{}: computes {}, waits {} of {}", steps, format_seconds(compute / count),
                      format_seconds(wait / count), format_seconds(all / count)),
          {compute / count, wait / count, std::max(0.0, all - compute - wait) / count}};
}

/// Of the newest launch: ranks may have been others before.
std::string rank_timelines(const RunDirectory& run) {
  const std::size_t first = run.first_of_launch, steps = run.steps.size() - first;
  const std::size_t columns = std::min(steps, kMostColumns), ranks = run.run.ranks.size();
  std::vector<std::vector<Column>> of_ranks(ranks);
  std::vector<double> heights;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    for (std::size_t i = 0; i < columns; ++i) {
      of_ranks[rank].push_back(column_of(run, first + i * steps / columns, first + (i + 1) * steps / columns, rank));
      const std::vector<double>& values = of_ranks[rank].back().values;
      heights.push_back(values[0] + values[1] + values[2]);
    }
  }
  // A first step that takes a hundred times as long would flatten all others.
  std::ranges::sort(heights);
  const double top = 1.15 * heights[heights.size() * 19 / 20];
  std::string text = "<p>Seconds of each step, rank by rank. What goes over the top is cut off.</p>\n";
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const train::RankInfo& info = run.run.ranks[rank];
    text += column_chart(fmt::format("Rank {} ({}, {})", info.rank, info.host, info.device),
                         {{"computes", "c0"}, {"waits", "c1"}, {"other", "c4"}}, of_ranks[rank], top,
                         fmt::format("step {}", run.steps[first].step), fmt::format("step {}", run.steps.back().step));
  }
  return text;
}

std::string colour_of(const std::string& lane) {
  if (lane == "compute") return "c0";
  if (lane == "wait") return "c1";
  return lane == "update" ? "c2" : "c3";
}

/// Nothing where the run wrote no trace.
std::string trace_section(const RunDirectory& run, const RunFigures& figures) {
  const TracePart part = read_trace_part(run.path, kTracedSteps * figures.median_step);
  if (part.spans.empty()) return "";
  std::map<std::pair<int, std::string>, Lane> lanes;
  for (const TraceSpan& span : part.spans) {
    Lane& lane = lanes[{span.rank, span.lane}];
    lane.name = fmt::format("rank {} {}", span.rank, span.lane);
    lane.spans.push_back({1000 * (span.begin - part.begin), 1000 * (span.end - part.begin),
                          fmt::format("{}, {}", span.name, format_seconds(span.end - span.begin)),
                          colour_of(span.lane)});
  }
  std::vector<Lane> rows;
  for (auto& [key, lane] : lanes) rows.push_back(std::move(lane));
  return section("What ranks did in three steps",
                 "<p>From trace.json, which Perfetto shows whole.</p>\n" +
                     lane_chart("Spans", {{"computes", "c0"}, {"waits", "c1"}, {"updates", "c2"}, {"exchanges", "c3"}},
                                rows, 0, 1000 * (part.end - part.begin), " ms"));
}

std::string memory_of(const RunDirectory& run, std::size_t rank) {
  const std::vector<std::int64_t>& peaks = run.steps.back().peak_tensor_bytes;
  return rank < peaks.size() ? format_size(peaks[rank]) : "-";
}

std::string plan_and_fact(const RunDirectory& run, const RunFigures& figures) {
  const auto& predicted = run.run.predicted;
  std::vector<Cells> rows;
  for (std::size_t rank = 0; rank < run.run.ranks.size(); ++rank) {
    const train::RankInfo& info = run.run.ranks[rank];
    const double planned = predicted ? predicted->compute_seconds[rank] : 0;
    rows.push_back({std::to_string(info.rank), info.host, info.device, format_count(info.batch),
                    predicted ? format_seconds(planned) : "-", format_seconds(figures.compute[rank]),
                    predicted ? difference(planned, figures.compute[rank]) : "-",
                    format_seconds(figures.communication[rank]), format_seconds(figures.wait[rank]),
                    memory_of(run, rank)});
  }
  std::string text =
      predicted
          ? fmt::format("<p>Planned step {}, measured {} (planned is {}); medians and means without the warm-up.</p>\n",
                        format_seconds(predicted->step_seconds), format_seconds(figures.median_step),
                        difference(predicted->step_seconds, figures.median_step))
          : "<p>Batches were given: there was no plan to compare with.</p>\n";
  text += table({"rank", "host", "device", "batch", "computes, planned", "measured", "planned is",
                 "something on its way", "waits", "most memory"},
                rows, 3);
  if (run.rebalances.empty()) return text;
  std::vector<Cells> changes;
  for (const train::RebalanceRecord& change : run.rebalances) {
    const bool stages = !change.cuts.empty();
    changes.push_back({format_count(change.step),
                       fmt::format("{}", fmt::join(stages ? change.cuts_before : change.batches_before, ",")),
                       fmt::format("{}", fmt::join(stages ? change.cuts : change.batches, ",")),
                       format_seconds(change.step_seconds), format_seconds(change.expected_step_seconds)});
  }
  return text + "<h3>Rebalanced</h3>\n" +
         table({"from step", "batches (of stages: their ends) before", "after", "step before", "expected"}, changes, 5);
}

std::string value_text(const Json& value) { return value.is_string() ? value.get<std::string>() : json_text(value); }

std::string object_table(const Json& object) {
  std::vector<Cells> rows;
  for (const auto& [key, value] : object.items()) rows.push_back({key, value_text(value)});
  return table({}, rows, 2);
}

/// Where the ranks of a launch ran, and with what.
std::string ranks_table(const Json& launch, const std::string& source) {
  std::vector<Cells> rows;
  for (const Json& rank : json_value_or<std::vector<Json>>(launch, "ranks", {}, source))
    rows.push_back({std::to_string(json_value<int>(rank, "rank", source)),
                    json_value<std::string>(rank, "host", source), json_value<std::string>(rank, "device", source),
                    std::to_string(json_value<int>(rank, "threads", source)),
                    fmt::format("{:.3g}", json_value<double>(rank, "speed", source)),
                    format_size(json_value<std::int64_t>(rank, "memory_bytes", source))});
  return rows.empty() ? "" : table({"rank", "host", "device", "threads", "speed", "memory budget"}, rows, 3);
}

/// What run.json says of one launch.
std::string launch_text(const Json& launch, const std::string& source) {
  const auto words = json_value_or<std::vector<std::string>>(launch, "command", {}, source);
  std::string text = fmt::format("<p>{}, {}</p>\n<pre>{}</pre>\n",
                                 html_text(json_value_or<std::string>(launch, "started", "", source)),
                                 html_text(json_value_or<std::string>(launch, "program", "", source)),
                                 html_text(fmt::format("{}", fmt::join(words, " ")))) +
                     ranks_table(launch, source);
  for (const char* key : {"options", "data", "eval_data", "model"}) {
    if (launch.contains(key) && launch[key].is_object())
      text += fmt::format("<details{}><summary>{}</summary>{}</details>\n",
                          std::string_view(key) == "options" ? " open" : "", key, object_table(launch[key]));
  }
  return text;
}

/// Nothing where there is no run.json.
std::string configuration(const RunDirectory& run) {
  const std::filesystem::path path = run.path / "run.json";
  if (!std::filesystem::exists(path)) return "";
  const Json json = read_json(path);
  std::string text = launch_text(json, path.string());
  for (const Json& resume : json_value_or<std::vector<Json>>(json, "resumes", {}, path.string()))
    text += "<h3>Resumed</h3>\n" + launch_text(resume, path.string());
  return section("Configuration", text);
}

}  // namespace

std::string html_report(const RunDirectory& run) {
  const RunFigures figures = figures_of(run);
  const std::string name = html_text(name_of(run));
  const std::string what =
      fmt::format("{}, {}, {}; {} ranks, {} samples a step", run.run.model, plan::describe_mode(run.run.strategy),
                  plan::describe_numbers(run.run.strategy), run.run.ranks.size(), format_count(run.run.total));
  return fmt::format(
             "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<title>{0}</title><style>{1}</style></head><body>\n<h1>{0}</h1>\n<p>{2}</p>\n",
             name, kStyle, html_text(what)) +
         tiles(run, figures) + section("Curves", curves(run)) + section("Plan and fact", plan_and_fact(run, figures)) +
         section("Timeline of the ranks", rank_timelines(run)) + trace_section(run, figures) + configuration(run) +
         "</body></html>\n";
}

}  // namespace lshdp::cli
