// Turns measured ranks into types of devices.
#include "lshdp/explore/profiled_cluster.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "tree.h"

namespace lshdp::explore {
namespace {

constexpr double kTera = 1e12, kGB = 1e9, kMicro = 1e-6;
/// Bytes a parameter that AdamW of float32 reads and writes (step_time.cpp): gradients twice, weights and moments in
/// and out.
constexpr double kUpdateBytes = 32;
constexpr double kAlike = 1.15;

[[noreturn]] void refuse(const std::string& source, const std::string& problem) {
  throw UsageError(fmt::format("{}: {}", source, problem));
}

/// 6 a parameter and token: of forward 2, and of backward 4. A table is looked up in, unless a head shares it.
double operations_of_tokens(const plan::Profile& profile, const std::string& source) {
  if (profile.data_shape.size() != 1 || profile.blocks.empty() || profile.blocks.front().name != "embedding")
    refuse(source, fmt::format("is a profile of {}, no model of tokens; give the operations of forward and backward of "
                               "one sample as +cluster.profile_operations=..",
                               printable(profile.model)));
  double parameters = 0;
  for (const plan::BlockProfile& block : profile.blocks) {
    if (block.name != "embedding") parameters += static_cast<double>(block.parameters);
    for (const std::size_t shared : block.shares_with)
      parameters += static_cast<double>(profile.blocks[shared].parameters);
  }
  return 6 * parameters * static_cast<double>(profile.data_shape.front());
}

/// What a rank does.
struct Measured {
  std::string host;
  double flops = 0, memory = 0, bandwidth = 0, host_link = 0;
  Json layers = nullptr;  // as settings read `device.profiled_layers`; null: not timed part by part
};

/// Which part of a model a block is: "attention 3" and "mlp 3" are of layer 3.
enum class Part : std::uint8_t { embedding, layer, head, unknown };
Part part_of(const std::string& name) {
  if (name == "embedding") return Part::embedding;
  if (name == "head") return Part::head;
  const std::size_t blank = name.rfind(' ');
  const bool numbered = blank != std::string::npos && blank + 1 < name.size() &&
                        name.find_first_not_of("0123456789", blank + 1) == std::string::npos;
  return numbered ? Part::layer : Part::unknown;
}

std::int64_t layers_of(const std::vector<plan::BlockProfile>& blocks) {
  std::set<std::string> numbers;
  for (const plan::BlockProfile& block : blocks) {
    if (part_of(block.name) == Part::layer) numbers.insert(block.name.substr(block.name.rfind(' ')));
  }
  return std::ssize(numbers);
}

/// Seconds of each part in each micro-batch that was timed block by block; null where there are none, or blocks that
/// are no part of a transformer.
Json layers_json(const plan::Profile& profile, const plan::RankProfile& rank) {
  const std::int64_t layers = layers_of(profile.blocks);
  const bool known =
      std::ranges::none_of(profile.blocks, [](const auto& block) { return part_of(block.name) == Part::unknown; });
  if (rank.block_times.empty() || layers == 0 || !known || profile.data_shape.size() != 1) return nullptr;
  Json list = Json::array();
  for (const plan::BlockTimes& times : rank.block_times) {
    const auto seconds = [&](Part part, double count) {
      double forward = 0, backward = 0;
      for (std::size_t block = 0; block < profile.blocks.size(); ++block) {
        if (part_of(profile.blocks[block].name) != part) continue;
        forward += times.forward[block] / count;
        backward += times.backward[block] / count;
      }
      return Json{forward, backward};
    };
    list.push_back({{"micro_batch", times.batch},
                    {"embedding", seconds(Part::embedding, 1)},
                    {"layer", seconds(Part::layer, static_cast<double>(layers))},
                    {"head", seconds(Part::head, 1)}});
  }
  return {{"parameters", profile.parameter_count},
          {"num_layers", layers},
          {"seq_length", profile.data_shape.front()},
          {"times", list}};
}

Measured measured(const plan::Profile& profile, const plan::RankProfile& rank, double operations,
                  const std::string& source) {
  if (rank.curve.empty()) refuse(source, fmt::format("rank {} has no curve: it trained nothing", rank.rank));
  if (rank.update_parameters_per_second <= 0)
    refuse(source,
           fmt::format("rank {} has no update_parameters_per_second; measure again by lshdp profile", rank.rank));
  double samples_per_second = 0;
  for (const plan::CurvePoint& point : rank.curve)
    samples_per_second = std::max(samples_per_second, static_cast<double>(point.batch) / point.seconds);
  return {.host = rank.host,
          .flops = operations * samples_per_second,
          .memory = static_cast<double>(rank.memory_bytes),
          .bandwidth = kUpdateBytes * rank.update_parameters_per_second,
          .host_link = rank.host_link_bytes_per_second,
          .layers = layers_json(profile, rank)};
}

bool alike(double one, double other) { return std::max(one, other) <= kAlike * std::min(one, other); }
bool alike(const Measured& one, const Measured& other) {
  return alike(one.flops, other.flops) && alike(one.memory, other.memory);
}

/// Ranks that are alike, each group by its first: the fastest, from fast to slow.
std::vector<std::vector<Measured>> types_of(std::vector<Measured> ranks) {
  std::ranges::stable_sort(ranks, std::greater<>(), &Measured::flops);
  std::vector<std::vector<Measured>> types;
  for (const Measured& rank : ranks) {
    const auto found =
        std::ranges::find_if(types, [&](const std::vector<Measured>& type) { return alike(type.front(), rank); });
    if (found == types.end())
      types.push_back({rank});
    else
      found->push_back(rank);
  }
  return types;
}

/// Ranks of a node: those of a host, where all hosts have as many and each host is of one type. Otherwise 1.
std::int64_t ranks_of_a_node(const std::vector<std::vector<Measured>>& types) {
  std::map<std::string, std::int64_t> hosts;
  std::map<std::string, std::size_t> type_of_host;
  for (std::size_t type = 0; type < types.size(); ++type) {
    for (const Measured& rank : types[type]) {
      ++hosts[rank.host];
      if (type_of_host.try_emplace(rank.host, type).first->second != type) return 1;
    }
  }
  const std::int64_t ranks = hosts.begin()->second;
  return std::ranges::all_of(hosts, [=](const auto& host) { return host.second == ranks; }) ? ranks : 1;
}

/// The slowest and the smallest of a type stand for all of it.
Json device_of(const std::vector<Measured>& type, const std::string& name) {
  const auto least = [&](double Measured::*figure) {
    double smallest = type.front().*figure;
    for (const Measured& rank : type) smallest = std::min(smallest, rank.*figure);
    return smallest;
  };
  const double tflops = least(&Measured::flops) / kTera;
  Json device = {{"name", name},
                 {"memory", fmt::format("{:.0f}", least(&Measured::memory))},
                 {"float16_tflops", tflops},
                 {"float32_tflops", tflops},
                 {"memory_bandwidth_gb_s", least(&Measured::bandwidth) / kGB},
                 {"matmul_share", 1.0},
                 {"attention_share", 1.0}};
  if (const double link = least(&Measured::host_link); link > 0) device["host_link_bandwidth_gb_s"] = link / kGB;
  const Measured& slowest = *std::ranges::min_element(type, {}, &Measured::flops);
  if (!slowest.layers.is_null()) device["profiled_layers"] = slowest.layers;
  return device;
}

}  // namespace

Json configuration_of_profile(const plan::Profile& profile, const std::string& source,
                              std::optional<double> operations) {
  const double each = operations ? *operations : operations_of_tokens(profile, source);
  std::vector<Measured> ranks;
  for (const plan::RankProfile& rank : profile.ranks) ranks.push_back(measured(profile, rank, each, source));
  const std::vector<std::vector<Measured>> types = types_of(ranks);
  const std::int64_t a_node = ranks_of_a_node(types);
  const bool has_network = profile.network.bytes_per_second > 0;
  if (!has_network && ranks.size() > 1) refuse(source, "has no bytes_per_second of the network; measure it again");
  // One rank alone has no links, and needs none.
  const double bandwidth = has_network ? profile.network.bytes_per_second / kGB : 1;
  const double latency = profile.network.latency_seconds / kMicro;
  Json cluster = {{"name", source},
                  {"devices_per_node", a_node},
                  {"bandwidth_within_node_gb_s", bandwidth},
                  {"latency_within_node_us", latency},
                  {"bandwidth_between_nodes_gb_s", bandwidth},
                  {"latency_between_nodes_us", latency}};
  // What was measured is what is reached.
  Json tree = {
      {"efficiency", {{"half_size", 0.0}, {"memory", 1.0}, {"link", 1.0}, {"launch_us", 0.0}, {"host_link", 1.0}}}};
  if (types.size() == 1) {
    tree["device"] = device_of(types.front(), types.front().front().host);
    tree["ngpus_range"] = profile.ranks.size();
  } else {
    for (std::size_t type = 0; type < types.size(); ++type) {
      const auto nodes = static_cast<std::int64_t>(types[type].size()) / a_node;
      cluster["types"][fmt::format("type{}", type)] = {{"nodes", nodes},
                                                       {"device", device_of(types[type], types[type].front().host)}};
    }
  }
  tree["cluster"] = std::move(cluster);
  return tree;
}

void read_profiled_cluster(Json& tree, const std::string& source) {
  const Json* cluster = tree.contains("cluster") && tree["cluster"].is_object() ? &tree["cluster"] : nullptr;
  if (cluster == nullptr || !cluster->contains("profile") || (*cluster)["profile"].is_null()) return;
  Json own = *cluster;
  if (!own["profile"].is_string()) refuse(source, "cluster.profile must be the path of a profile.json");
  std::optional<double> operations;
  if (own.contains("profile_operations") && !own["profile_operations"].is_null()) {
    const Json& given = own["profile_operations"];
    if (!given.is_number() || given.get<double>() <= 0 || !std::isfinite(given.get<double>()))
      refuse(source, "cluster.profile_operations must be a number above 0");
    operations = given.get<double>();
  }
  const std::string path = own["profile"].get<std::string>();
  own.erase("profile");
  own.erase("profile_operations");
  if (tree.contains("device") && !tree["device"].is_null())
    refuse(source, "device is given beside cluster.profile, which tells what it is; leave it out");
  Json measured = configuration_of_profile(plan::read_profile(path), path, operations);
  if (measured["cluster"].contains("types") && own.contains("types"))
    refuse(source, "cluster.types is given beside cluster.profile, which tells them; leave it out");
  merge(measured["cluster"], own);
  if (tree.contains("efficiency") && tree["efficiency"].is_object()) merge(measured["efficiency"], tree["efficiency"]);
  tree["cluster"] = measured["cluster"];
  tree["efficiency"] = measured["efficiency"];
  if (!measured.contains("device")) return;
  tree["device"] = measured["device"];
  if (!tree.contains("ngpus_range") || tree["ngpus_range"].is_null()) tree["ngpus_range"] = measured["ngpus_range"];
}

}  // namespace lshdp::explore
