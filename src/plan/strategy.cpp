// Names, JSON and comparison of strategies.
#include "lshdp/plan/strategy.h"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "checked_json.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"

namespace lshdp::plan {
namespace {

constexpr std::array kTraits{
    ModeTraits{.name = "ddp",
               .replicates = true,
               .gathers_every_pass = false,
               .weights_shards = true,
               .memory_shards = false,
               .streams = false,
               .shares_node_memory = false,
               .offloads = false,
               .rounds_wire = true},
    ModeTraits{.name = "fsdp",
               .replicates = false,
               .gathers_every_pass = true,
               .weights_shards = false,
               .memory_shards = true,
               .streams = false,
               .shares_node_memory = false,
               .offloads = true,
               .rounds_wire = false},
    ModeTraits{.name = "lsdp",
               .replicates = false,
               .gathers_every_pass = false,
               .weights_shards = false,
               .memory_shards = false,
               .streams = true,
               .shares_node_memory = true,
               .offloads = false,
               .rounds_wire = false},
};

constexpr std::array kPrecisions{"fp32", "bf16", "fp16", "fp64"};
constexpr std::array kWires{"exact", "bf16"};

constexpr std::array kModes{kTraits[0].name, kTraits[1].name, kTraits[2].name};
constexpr const char* kModeChoices = "ddp, fsdp or lsdp";
constexpr const char* kPrecisionChoices = "fp32, bf16, fp16 or fp64";
constexpr const char* kWireChoices = "exact or bf16";

template <class Value, std::size_t Count>
std::optional<Value> find_name(const std::array<const char*, Count>& names, std::string_view text) {
  for (std::size_t place = 0; place < Count; ++place) {
    if (text == names[place]) return static_cast<Value>(place);
  }
  return std::nullopt;
}

template <class Value, std::size_t Count>
Value from_option(const std::array<const char*, Count>& names, std::string_view text, const char* option,
                  const char* choices) {
  if (const auto value = find_name<Value>(names, text)) return *value;
  throw UsageError(fmt::format("--{0}: unknown {0} '{1}'; use {2}", option, text, choices));
}

template <class Value, std::size_t Count>
Value from_key(const std::array<const char*, Count>& names, const Json& json, const char* key, const char* choices,
               const std::string& source) {
  if (const auto value = find_name<Value>(names, json_value<std::string>(json, key, source))) return *value;
  throw_wrong_key(source, key, fmt::format("must be {}", choices));
}

std::optional<std::size_t> resident_from_json(const Json& json, const std::string& source) {
  if (!json.contains("resident") || json["resident"].is_null()) return std::nullopt;
  if (json["resident"] == "all") return kAllResident;
  return static_cast<std::size_t>(json_int(json, "resident", source, 0));
}

std::string mode_options(const Strategy& strategy) {
  return to_text(strategy.mode) + (strategy.offload ? " --offload" : "");
}

std::string memory_options(const Strategy& strategy) {
  if (!strategy.recompute) return "no --recompute";
  return strategy.offload_activations ? "--recompute --offload-activations" : "--recompute";
}

}  // namespace

const ModeTraits& traits_of(Mode mode) { return kTraits.at(static_cast<std::size_t>(mode)); }

std::string to_text(Mode mode) { return traits_of(mode).name; }
std::string to_text(Precision precision) { return kPrecisions.at(static_cast<std::size_t>(precision)); }
std::string to_text(Wire wire) { return kWires.at(static_cast<std::size_t>(wire)); }

Mode mode_from_text(std::string_view text) { return from_option<Mode>(kModes, text, "mode", kModeChoices); }
Precision precision_from_text(std::string_view text) {
  return from_option<Precision>(kPrecisions, text, "precision", kPrecisionChoices);
}
Wire wire_from_text(std::string_view text) { return from_option<Wire>(kWires, text, "wire", kWireChoices); }

void require_valid(const Strategy& strategy) {
  const ModeTraits& traits = traits_of(strategy.mode);
  if (strategy.offload && !traits.offloads)
    throw UsageError("--offload: only --mode fsdp has shards that can go to the host");
  if (strategy.resident && !traits.streams)
    throw UsageError("--resident: only --mode lsdp streams parameters to the device");
  if (strategy.offload_activations && !strategy.recompute)
    throw UsageError("--offload-activations: what goes to the host are block inputs; add --recompute");
  if (strategy.wire == Wire::exact) return;
  if (!traits.rounds_wire)
    throw UsageError(fmt::format("--wire: bf16 is for --mode ddp; {} moves what it has exactly", traits.name));
  if (strategy.precision == Precision::fp64)
    throw UsageError("--wire: bf16 would undo --precision fp64; leave one of them out");
  if (strategy.precision == Precision::fp16)
    throw UsageError(
        "--wire: bf16 is not for --precision fp16, whose parameters travel in 2 bytes anyway; leave it out");
}

nlohmann::json to_json(const Strategy& strategy) {
  Json resident;
  if (strategy.resident) resident = *strategy.resident == kAllResident ? Json("all") : Json(*strategy.resident);
  return {{"mode", to_text(strategy.mode)},           {"offload", strategy.offload},
          {"precision", to_text(strategy.precision)}, {"wire", to_text(strategy.wire)},
          {"recompute", strategy.recompute},          {"offload_activations", strategy.offload_activations},
          {"resident", std::move(resident)}};
}

Strategy strategy_from_json(const nlohmann::json& json, const std::string& source) {
  Strategy strategy{.mode = from_key<Mode>(kModes, json, "mode", kModeChoices, source),
                    .offload = json_value_or<bool>(json, "offload", false, source),
                    .recompute = json_value_or<bool>(json, "recompute", false, source),
                    .offload_activations = json_value_or<bool>(json, "offload_activations", false, source),
                    .resident = resident_from_json(json, source)};
  if (json.contains("precision"))
    strategy.precision = from_key<Precision>(kPrecisions, json, "precision", kPrecisionChoices, source);
  if (json.contains("wire")) strategy.wire = from_key<Wire>(kWires, json, "wire", kWireChoices, source);
  try {
    require_valid(strategy);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}: {}", source, error.what()));
  }
  return strategy;
}

std::string describe_mode(const Strategy& strategy) {
  return strategy.offload ? to_text(strategy.mode) + " with offload" : to_text(strategy.mode);
}

std::string describe_numbers(const Strategy& strategy) {
  const std::string precision = to_text(strategy.precision);
  return strategy.wire == Wire::bf16 ? precision + ", rounded to bf16 on the wire" : precision;
}

std::vector<std::string> differences(const Strategy& planned, const Strategy& actual) {
  std::vector<std::string> found;
  const auto compare = [&](const char* what, const std::string& then, const std::string& now) {
    if (then != now) found.push_back(fmt::format("{} {}, but this run has {}", what, then, now));
  };
  compare("mode", mode_options(planned), mode_options(actual));
  compare("precision", to_text(planned.precision), to_text(actual.precision));
  compare("wire", to_text(planned.wire), to_text(actual.wire));
  if (memory_options(planned) != memory_options(actual))
    found.push_back(fmt::format("{}, but this run has {}", memory_options(planned), memory_options(actual)));
  if (planned.resident && actual.resident && *planned.resident != *actual.resident)
    found.push_back(fmt::format("--resident {}, but this run has {}", *planned.resident, *actual.resident));
  return found;
}

}  // namespace lshdp::plan
