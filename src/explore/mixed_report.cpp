// JSON and tables of layouts over devices of several types.
#include "lshdp/explore/mixed_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/text.h"
#include "lshdp/explore/parameters.h"
#include "report_parts.h"

namespace lshdp::explore {
namespace {

std::int64_t devices_of(const Cluster& cluster) {
  std::int64_t devices = 0;
  for (const DeviceType& type : cluster.types) devices += type.devices;
  return devices;
}

std::int64_t refused_of(const MixedFound& found) {
  std::int64_t refused = 0;
  for (const auto& [reason, combinations] : found.refused) refused += combinations;
  return refused;
}

/// Model operations over what all devices could do in the step.
double utilization(const Settings& settings, const MixedCandidate& candidate) {
  double possible = 0;
  for (const DeviceType& type : settings.cluster->types)
    possible += static_cast<double>(type.devices) * type.device.peak_flops(settings.trainer.param_dtype);
  return model_flops_per_token(settings.model) * tokens_per_step(settings.model) / (possible * candidate.time.seconds);
}

/// "8 x a100: 10 11 11", the layers of each stage in the pipeline's order.
std::string stages_text(const Cluster& cluster, const MixedLayout& layout) {
  std::string text;
  for (std::size_t stage = 0; stage < layout.types.size(); ++stage) {
    if (stage == 0 || layout.types[stage] != layout.types[stage - 1])
      text += fmt::format("{}{}:", text.empty() ? "" : ", ", cluster.types[layout.types[stage]].name);
    text += fmt::format(" {}", layout.layers[stage]);
  }
  return text;
}

/// "a100: 4 of 20": replicas, and micro-batches of each.
std::string replicas_text(const Cluster& cluster, const MixedLayout& layout) {
  std::vector<std::string> parts;
  for (std::size_t type = 0; type < cluster.types.size(); ++type)
    parts.push_back(fmt::format("{}: {} of {}{}", cluster.types[type].name, layout.replicas[type],
                                layout.micro_batches[type], layout.at_once ? " at once" : ""));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string parts_text(const Cluster& cluster, const MixedLayout& layout) {
  return layout.spread == Spread::stages ? stages_text(cluster, layout) : replicas_text(cluster, layout);
}

std::vector<std::string> cells_of(const Settings& settings, const MixedCandidate& candidate) {
  const Layout& layout = candidate.layout.layout;
  const Cluster& cluster = *settings.cluster;
  const auto text = [](std::int64_t number) { return std::to_string(number); };
  std::vector<std::string> cells{std::string(name_of(candidate.layout.spread)),
                                 text(layout.tensor),
                                 text(layout.pipeline),
                                 text(layout.expert),
                                 text(layout.context),
                                 text(layout.data()),
                                 text(layout.micro_batch),
                                 parts_text(cluster, candidate.layout),
                                 std::string(name_of(layout.recompute)),
                                 layout.sequence_parallel ? "yes" : "no",
                                 std::string(name_of(layout.sharding))};
  for (const TypeMemory& type : candidate.types) cells.push_back(gib(type.worst.total()));
  const double tokens = tokens_per_step(settings.model) / candidate.time.seconds;
  cells.push_back(format_seconds(candidate.time.seconds));
  cells.push_back(format_count(std::llround(tokens)));
  cells.push_back(fmt::format("{:.1f} %", 100 * utilization(settings, candidate)));
  cells.emplace_back(name_of(candidate.verdict));
  return cells;
}

std::string candidate_table(const Settings& settings, const std::vector<MixedCandidate>& candidates) {
  std::vector<std::string> header{"one type a", "TP",        "PP",        "EP",
                                  "CP",         "DP",        "sequences", "layers, or replicas of micro-batches",
                                  "recompute",  "seq. par.", "sharding"};
  for (const DeviceType& type : settings.cluster->types) header.push_back(type.name + " GiB");
  header.insert(header.end(), {"step", "tokens/s", "MFU", "verdict"});
  Table table(header);
  for (const MixedCandidate& candidate : candidates) table.add(cells_of(settings, candidate));
  return table.to_string();
}

std::string cluster_lines(const Cluster& cluster) {
  std::string text = cluster.name + ":\n";
  for (const DeviceType& type : cluster.types)
    text += fmt::format("  {} {}: {}, {} GiB\n", format_count(type.devices), type.name, type.device.name,
                        gib(static_cast<double>(type.device.memory_bytes)));
  return text;
}

Json layout_json(const Cluster& cluster, const MixedLayout& mixed) {
  Json json = sizes_json(mixed.layout);
  json["one_type_a"] = mixed.spread == Spread::stages ? "stage" : "replica";
  if (mixed.spread == Spread::stages) {
    json["stages"] = Json::array();
    for (std::size_t stage = 0; stage < mixed.types.size(); ++stage)
      json["stages"].push_back({{"type", cluster.types[mixed.types[stage]].name}, {"layers", mixed.layers[stage]}});
    return json;
  }
  json["layer_split"] = name_of(mixed.layout.layer_split);
  json["at_once"] = mixed.at_once;
  json["replicas"] = Json::array();
  for (std::size_t type = 0; type < cluster.types.size(); ++type)
    json["replicas"].push_back({{"type", cluster.types[type].name},
                                {"replicas", mixed.replicas[type]},
                                {"micro_batches", mixed.micro_batches[type]}});
  return json;
}

Json candidate_json(const Settings& settings, const MixedCandidate& candidate) {
  const Cluster& cluster = *settings.cluster;
  Json json = {{"layout", layout_json(cluster, candidate.layout)}, {"verdict", name_of(candidate.verdict)}};
  json["types"] = Json::array();
  for (std::size_t type = 0; type < cluster.types.size(); ++type)
    json["types"].push_back({{"type", cluster.types[type].name},
                             {"fullest_stage", memory_json(candidate.types[type].worst)},
                             {"verdict", name_of(candidate.types[type].verdict)}});
  const StepTime& time = candidate.time;
  json["time"] = {{"step_seconds", time.seconds},
                  {"compute_seconds", time.compute},
                  {"exchange_seconds", time.exchange},
                  {"bubble_seconds", time.bubble},
                  {"gradient_seconds", time.gradients},
                  {"optimizer_seconds", time.optimizer},
                  {"tokens_per_second", tokens_per_step(settings.model) / time.seconds},
                  {"model_flops_utilization", utilization(settings, candidate)}};
  return json;
}

}  // namespace

Json to_json(const Settings& settings, const MixedFound& found) {
  const Cluster& cluster = *settings.cluster;
  Json json = {{"version", 1},
               {"model", settings.model.name},
               {"parameters", total_parameters(settings.model)},
               {"cluster", cluster.name},
               {"devices", devices_of(cluster)},
               {"combinations", found.valid + refused_of(found)},
               {"valid", found.valid},
               {"fits", found.fits},
               {"tight", found.tight},
               {"refused", found.refused}};
  json["layers_as_profiled"] = settings.has_layer_times();
  json["types"] = Json::array();
  for (const DeviceType& type : cluster.types)
    json["types"].push_back({{"type", type.name},
                             {"device", type.device.name},
                             {"devices", type.devices},
                             {"memory_bytes", type.device.memory_bytes}});
  json["top"] = Json::array();
  for (const MixedCandidate& candidate : found.top) json["top"].push_back(candidate_json(settings, candidate));
  return json;
}

std::string describe(const Settings& settings, const MixedFound& found, RankBy by) {
  std::string text = model_line(settings.model) + cluster_lines(*settings.cluster) + layer_times_line(settings) +
                     fmt::format("{} combinations, {} possible, {} fit, {} are tight\n\n",
                                 format_count(found.valid + refused_of(found)), format_count(found.valid),
                                 format_count(found.fits), format_count(found.tight));
  Table refused({"not possible", "combinations"});
  for (const auto& [reason, combinations] : found.refused) refused.add({reason, format_count(combinations)});
  if (!found.refused.empty()) text += refused.to_string() + '\n';
  if (found.top.empty()) return text;
  const bool some_fit = found.fits + found.tight > 0;
  return text +
         fmt::format("{}The first {} by {}{} (memory of each type's fullest stage):\n",
                     some_fit ? "" : "No layout fits. ", found.top.size(), name_of(by),
                     some_fit ? " of those that fit" : "") +
         candidate_table(settings, found.top);
}

}  // namespace lshdp::explore
