// JSON and tables of what a search found.
#include "lshdp/explore/report.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/text.h"
#include "lshdp/explore/parameters.h"
#include "lshdp/explore/simulated_step.h"
#include "lshdp/explore/stages.h"
#include "lshdp/explore/verdict.h"
#include "report_parts.h"

namespace lshdp::explore {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

}  // namespace

Json memory_json(const StageMemory& stage) {
  return {{"stage", stage.stage},
          {"dense_parameters", stage.dense_parameters},
          {"expert_parameters", stage.expert_parameters},
          {"weights_bytes", stage.weights},
          {"gradients_bytes", stage.gradients},
          {"master_weights_bytes", stage.master},
          {"moments_bytes", stage.moments},
          {"expert_activations_bytes", stage.practice_expert_activations},
          {"other_activations_bytes", stage.other_activations},
          {"loss_bytes", stage.loss},
          {"working_set_bytes", stage.working_set},
          {"buffers_bytes", stage.buffers},
          {"framework_context_bytes", stage.context},
          {"total_bytes", stage.total()},
          {"fragmentation_margin_bytes", stage.margin},
          {"host_bytes", stage.host}};
}

Json sizes_json(const Layout& layout) {
  return {{"devices", layout.devices},
          {"TP", layout.tensor},
          {"PP", layout.pipeline},
          {"EP", layout.expert},
          {"CP", layout.context},
          {"DP", layout.data()},
          {"micro_batch_size", layout.micro_batch},
          {"recompute", name_of(layout.recompute)},
          {"sequence_parallel", layout.sequence_parallel},
          {"sharding", name_of(layout.sharding)}};
}

std::string gib(double bytes) { return fmt::format("{:.2f}", bytes / kGiB); }

std::string model_line(const Model& model) {
  std::string text = fmt::format("{}: {} parameters", model.name, format_count(total_parameters(model)));
  if (model.has_experts()) text += fmt::format(" ({} a token)", format_count(active_parameters(model)));
  return text + fmt::format(", {} layers; {} {} of {} tokens a step\n", model.num_layers,
                            format_count(model.global_batch_size), model.vision ? "images" : "sequences",
                            format_count(model.seq_length));
}

std::string layer_times_line(const Settings& settings) {
  return settings.has_layer_times() ? "layers take what the profile timed them to take\n" : "";
}

std::string_view name_of(RankBy by) {
  switch (by) {
    case RankBy::memory:
      return "memory";
    case RankBy::devices:
      return "devices";
    case RankBy::time:
      break;
  }
  return "time";
}

namespace {

Json layout_json(const Model& model, const Layout& layout) {
  Json json = sizes_json(layout);
  json["micro_batches"] = layout.micro_batches(model);
  json["interleaving"] = layout.interleaving;
  json["layer_split"] = name_of(layout.layer_split);
  json["offload"] = name_of(layout.offload);
  json["layers"] = layers_of_pieces(model, layout);
  json["bubble_rate"] = bubble_rate(model, layout);
  return json;
}

Json time_json(const Settings& settings, const Candidate& candidate) {
  const StepTime& time = candidate.time;
  const Throughput throughput = throughput_of(settings, candidate);
  Json json = {{"step_seconds", time.seconds},
               {"compute_seconds", time.compute},
               {"exchange_seconds", time.exchange},
               {"bubble_seconds", time.bubble},
               {"gradient_seconds", time.gradients},
               {"optimizer_seconds", time.optimizer},
               {"host_transfer_seconds", time.host_transfers},
               {"tokens_per_second", throughput.tokens_per_second},
               {"model_flops_utilization", throughput.utilization}};
  if (throughput.price > 0) json["price_per_million_tokens"] = throughput.price;
  return json;
}

std::string would_fit_with(const Settings& settings, const Candidate& candidate) {
  return what_would_fit(settings.model, settings.trainer, candidate.layout, *settings.device,
                        settings.cluster ? &*settings.cluster : nullptr);
}

Json candidate_json(const Settings& settings, const Candidate& candidate) {
  Json json = {{"layout", layout_json(settings.model, candidate.layout)}, {"worst_stage", candidate.worst.stage}};
  json["stages"] = Json::array();
  for (const StageMemory& stage : estimate(settings.model, settings.trainer, candidate.layout).stages)
    json["stages"].push_back(memory_json(stage));
  if (candidate.time.seconds > 0) {
    json["time"] = time_json(settings, candidate);
    json["node_host_bytes"] = candidate.node_host;
  }
  if (!settings.device) return json;
  const Verdict judged = verdict(settings, candidate);
  json["verdict"] = name_of(judged);
  if (judged != Verdict::fits) json["would_fit_with"] = would_fit_with(settings, candidate);
  return json;
}

Json candidates_json(const Settings& settings, const std::vector<Candidate>& candidates) {
  Json list = Json::array();
  for (const Candidate& candidate : candidates) list.push_back(candidate_json(settings, candidate));
  return list;
}

/// Of the best, also their steps event by event.
Json top_json(const Settings& settings, const std::vector<Candidate>& candidates) {
  Json list = candidates_json(settings, candidates);
  const std::optional<Hardware> hardware = settings.hardware();
  for (std::size_t i = 0; hardware && i < candidates.size(); ++i)
    list[i]["time"]["simulated_step_seconds"] =
        simulate_step(settings.model, settings.trainer, *hardware, candidates[i].layout).seconds;
  return list;
}

Json by_devices_json(const Settings& settings, const std::vector<DevicesSummary>& summaries) {
  Json list = Json::array();
  for (const DevicesSummary& summary : summaries) {
    Json json = {{"devices", summary.devices}, {"valid", summary.valid}};
    if (settings.device) {
      json["fits"] = summary.fits;
      json["tight"] = summary.tight;
      if (summary.host_unknown > 0) json["host_unknown"] = summary.host_unknown;
    }
    if (summary.valid > 0) json["least_total_bytes"] = summary.least.worst.total();
    if (summary.what_leaves_nothing) json["what_leaves_nothing"] = describe(*summary.what_leaves_nothing);
    list.push_back(std::move(json));
  }
  return list;
}

/// Layers of a chunk: "8", or "7-8" where chunks differ.
std::string layers_text(const Model& model, const Layout& layout) {
  const auto layers = layers_of_pieces(model, layout);
  const auto [least, most] = std::ranges::minmax(layers);
  return least == most ? std::to_string(least) : fmt::format("{}-{}", least, most);
}

std::vector<std::string> layout_cells(const Model& model, const Layout& layout) {
  const auto text = [](std::int64_t number) { return std::to_string(number); };
  return {format_count(layout.devices),
          text(layout.tensor),
          text(layout.pipeline),
          text(layout.expert),
          text(layout.context),
          text(layout.data()),
          fmt::format("{} x {}", layout.micro_batches(model), layout.micro_batch),
          text(layout.interleaving),
          layers_text(model, layout),
          std::string(name_of(layout.recompute)),
          layout.sequence_parallel ? "yes" : "no",
          std::string(name_of(layout.sharding))};
}

std::vector<std::string> memory_cells(const StageMemory& worst) {
  return {gib(worst.states()), gib(worst.practice_activations()),
          gib(worst.working_set + worst.buffers + worst.context), gib(worst.total()), std::to_string(worst.stage)};
}

/// In host memory: of a device, or of a node where nodes are known.
std::vector<std::string> offload_cells(const Candidate& candidate) {
  const bool nodes = candidate.time.seconds > 0;
  return {std::string(name_of(candidate.layout.offload)), gib(nodes ? candidate.node_host : candidate.worst.host)};
}

std::vector<std::string> time_cells(const Settings& settings, const Candidate& candidate) {
  const Throughput throughput = throughput_of(settings, candidate);
  std::vector<std::string> cells{
      format_seconds(candidate.time.seconds),
      format_count(std::llround(throughput.tokens_per_second / static_cast<double>(candidate.layout.devices))),
      fmt::format("{:.1f} %", 100 * throughput.utilization)};
  if (settings.device->price_per_hour > 0) cells.push_back(fmt::format("{:.4g}", throughput.price));
  return cells;
}

std::vector<std::string> verdict_cells(const Settings& settings, const Candidate& candidate) {
  const Verdict judged = verdict(settings, candidate);
  return {std::string(name_of(judged)), judged == Verdict::fits ? "" : would_fit_with(settings, candidate)};
}

std::string candidate_table(const Settings& settings, const std::vector<Candidate>& candidates) {
  std::vector<std::string> header{"devices",     "TP",          "PP",     "EP",        "CP",        "DP",
                                  "micro-batch", "chunks",      "layers", "recompute", "seq. par.", "sharding",
                                  "states",      "activations", "other",  "GiB",       "stage"};
  const bool timed = settings.hardware().has_value(), offloads = settings.space.offloads();
  if (offloads) header.insert(header.end(), {"offload", timed ? "host GiB/node" : "host GiB/device"});
  if (timed) header.insert(header.end(), {"step", "tokens/s/device", "MFU"});
  if (timed && settings.device->price_per_hour > 0) header.emplace_back("price/M tokens");
  if (settings.device) header.insert(header.end(), {"verdict", "fits with"});
  Table table(header);
  const auto append = [](std::vector<std::string>& row, std::vector<std::string> cells) {
    row.insert(row.end(), std::make_move_iterator(cells.begin()), std::make_move_iterator(cells.end()));
  };
  for (const Candidate& candidate : candidates) {
    std::vector<std::string> row = layout_cells(settings.model, candidate.layout);
    append(row, memory_cells(candidate.worst));
    if (offloads) append(row, offload_cells(candidate));
    if (timed) append(row, time_cells(settings, candidate));
    if (settings.device) append(row, verdict_cells(settings, candidate));
    table.add(std::move(row));
  }
  return table.to_string();
}

std::string refused_table(const SearchCounts& counts) {
  Table table({"not possible", "combinations"});
  bool any = false;
  for (std::size_t i = 0; i < kRefusals; ++i) {
    if (counts.refused[i] == 0) continue;
    table.add({std::string(describe(static_cast<Refusal>(i))), format_count(counts.refused[i])});
    any = true;
  }
  return any ? table.to_string() + '\n' : "";
}

std::string devices_table(const Settings& settings, const std::vector<DevicesSummary>& summaries) {
  std::vector<std::string> header{"devices", "layouts"};
  const bool unknown = std::ranges::any_of(summaries, [](const auto& one) { return one.host_unknown > 0; });
  if (settings.device) header.insert(header.end(), {"fit", "tight"});
  if (unknown) header.emplace_back("host unknown");
  header.insert(header.end(), {"least GiB", ""});
  Table table(header);
  for (const DevicesSummary& summary : summaries) {
    std::vector<std::string> row{format_count(summary.devices), format_count(summary.valid)};
    if (settings.device) row.insert(row.end(), {format_count(summary.fits), format_count(summary.tight)});
    if (unknown) row.push_back(format_count(summary.host_unknown));
    row.push_back(summary.valid > 0 ? gib(summary.least.worst.total()) : "-");
    row.push_back(summary.what_leaves_nothing ? std::string(describe(*summary.what_leaves_nothing)) : "");
    table.add(std::move(row));
  }
  return table.to_string();
}

std::string search_line(const Found& found) {
  return fmt::format("{} combinations, {} possible; searched (and written) in {}, {:.2g} million layouts a second\n\n",
                     format_count(found.counts.all()), format_count(found.counts.valid), format_seconds(found.seconds),
                     static_cast<double>(found.counts.valid) / std::max(found.seconds, 1e-9) / 1e6);
}

/// What stands over the best layouts.
std::string top_title(const Settings& settings, const Found& found, RankBy by) {
  const std::string which = fmt::format("The first {} by {}", found.top.size(), name_of(by));
  if (!settings.device) return which + " (memory of the fullest stage, GiB)\n";
  if (!found.some_fit) return fmt::format("No layout fits {}. {}, GiB:\n", settings.device->name, which);
  return fmt::format("{} of those that fit {} ({:.2f} GiB):\n", which, settings.device->name,
                     static_cast<double>(settings.device->memory_bytes) / kGiB);
}

std::string pareto_text(const Settings& settings, const std::vector<Candidate>& pareto) {
  if (!settings.hardware()) return "Less memory only with more devices:\n" + candidate_table(settings, pareto);
  constexpr std::size_t kMost = 20;
  const std::vector<Candidate> shown(pareto.begin(),
                                     pareto.begin() + static_cast<std::ptrdiff_t>(std::min(kMost, pareto.size())));
  const std::string rest = pareto.size() > kMost ? fmt::format(" (the first {} of {}; --json has all)", kMost,
                                                               format_count(std::ssize(pareto)))
                                                 : "";
  return fmt::format("Shorter steps or less memory only at the cost of the other, or of devices{}:\n", rest) +
         candidate_table(settings, shown);
}

}  // namespace

Json to_json(const Settings& settings, const Found& found) {
  Json refused = Json::object();
  for (std::size_t i = 0; i < kRefusals; ++i) {
    if (found.counts.refused[i] > 0) refused[std::string(describe(static_cast<Refusal>(i)))] = found.counts.refused[i];
  }
  Json json = {{"version", 1},
               {"model", settings.model.name},
               {"parameters", total_parameters(settings.model)},
               {"active_parameters", active_parameters(settings.model)},
               {"param_dtype", name_of(settings.trainer.param_dtype)},
               {"grad_dtype", name_of(settings.trainer.grad_dtype)},
               {"combinations", found.counts.all()},
               {"valid", found.counts.valid},
               {"refused", refused},
               {"by_devices", by_devices_json(settings, found.by_devices)},
               {"top", top_json(settings, found.top)},
               {"pareto", candidates_json(settings, found.pareto)}};
  if (settings.device)
    json["device"] = {{"name", settings.device->name}, {"memory_bytes", settings.device->memory_bytes}};
  if (settings.cluster) json["cluster"] = settings.cluster->name;
  if (settings.has_layer_times()) json["layers_as_profiled"] = true;
  if (settings.cluster && settings.cluster->host_memory_bytes > 0)
    json["host_memory_bytes"] = settings.cluster->host_memory_bytes;
  return json;
}

std::string describe(const Settings& settings, const Found& found, RankBy by) {
  std::string text = model_line(settings.model) + layer_times_line(settings) + search_line(found) +
                     refused_table(found.counts) + devices_table(settings, found.by_devices);
  if (!found.top.empty()) text += '\n' + top_title(settings, found, by) + candidate_table(settings, found.top);
  if (found.pareto.size() > 1) text += '\n' + pareto_text(settings, found.pareto);
  return text;
}

Throughput throughput_of(const Settings& settings, const Candidate& candidate) {
  const double seconds = candidate.time.seconds, tokens = tokens_per_step(settings.model);
  const double device_hours = static_cast<double>(candidate.layout.devices) * seconds / 3600;
  return {.tokens_per_second = tokens / seconds,
          .utilization =
              model_flops_utilization(settings.model, settings.trainer, *settings.device, candidate.layout, seconds),
          .price = device_hours * settings.device->price_per_hour / tokens * 1e6};
}

}  // namespace lshdp::explore
