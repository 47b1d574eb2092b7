// profile.json: a Profile as JSON, checked as it is read.
#include "lshdp/plan/profile.h"

#include <cmath>
#include <numeric>

#include "checked_json.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/json.h"

namespace lshdp::plan {
namespace {

constexpr int kVersion = 3;

constexpr MaxBatchFrom kKinds[] = {MaxBatchFrom::measured, MaxBatchFrom::estimated, MaxBatchFrom::limit};

MaxBatchFrom max_batch_from_json(const Json& json, const std::string& source) {
  const auto text = json_value<std::string>(json, "max_batch_from", source);
  for (const MaxBatchFrom from : kKinds) {
    if (text == to_text(from)) return from;
  }
  throw_wrong_key(source, "max_batch_from", "must be \"measured\", \"estimated\" or \"limit\"");
}

/// Earlier profiles lack what is planned with.
void require_this_version(const Json& json, const std::string& source) {
  if (json.is_object() && json.contains("version") && (json["version"] == 1 || json["version"] == 2)) {
    throw UsageError(
        fmt::format("{}: a profile of version {}, which has no times of blocks; measure again with lshdp "
                    "profile",
                    source, json["version"].get<int>()));
  }
  require_version(json, kVersion, source);
}

Json blocks_to_json(const std::vector<BlockProfile>& blocks) {
  Json json = Json::array();
  for (const BlockProfile& block : blocks) {
    json.push_back({{"name", block.name},
                    {"parameters", block.parameters},
                    {"activation_bytes", block.activation_bytes},
                    {"output_bytes", block.output_bytes},
                    {"shares_with", block.shares_with},
                    {"frozen_bytes", block.frozen_bytes},
                    {"expanded_bytes", block.expanded_bytes}});
  }
  return json;
}

/// Earlier blocks than `block`. Profiles of before do not say.
std::vector<std::size_t> shares_from_json(const Json& json, std::size_t block, const std::string& source) {
  std::vector<std::size_t> shares;
  for (const std::int64_t owner : json_value_or<std::vector<std::int64_t>>(json, "shares_with", {}, source)) {
    if (owner < 0 || owner >= static_cast<std::int64_t>(block))
      throw_wrong_key(source, "shares_with", "must hold numbers of earlier blocks");
    shares.push_back(static_cast<std::size_t>(owner));
  }
  return shares;
}

std::vector<BlockProfile> blocks_from_json(const Json& json, const std::string& source) {
  std::vector<BlockProfile> blocks;
  for (const Json& entry : json_list(json, "blocks", source)) {
    const std::string at = entry_source(source, "blocks", blocks.size());
    blocks.push_back({json_value<std::string>(entry, "name", at), json_int(entry, "parameters", at, 0),
                      json_int(entry, "activation_bytes", at, 0), json_int(entry, "output_bytes", at, 0),
                      shares_from_json(entry, blocks.size(), at),
                      json_value_or<std::int64_t>(entry, "frozen_bytes", 0, at),
                      json_value_or<std::int64_t>(entry, "expanded_bytes", 0, at)});
  }
  return blocks;
}

Json block_times_to_json(const std::vector<BlockTimes>& times) {
  Json json = Json::array();
  for (const BlockTimes& time : times)
    json.push_back({{"batch", time.batch}, {"forward", time.forward}, {"backward", time.backward}});
  return json;
}

std::vector<double> seconds_of_blocks(const Json& json, const char* key, std::size_t blocks,
                                      const std::string& source) {
  auto seconds = json_value<std::vector<double>>(json, key, source);
  if (seconds.size() != blocks)
    throw_wrong_key(source, key, fmt::format("must hold {} times, one for each of \"blocks\"", blocks));
  for (const double value : seconds) {
    if (!std::isfinite(value) || value < 0 || value > kMaxSeconds)
      throw_wrong_key(source, key, "must hold finite numbers of seconds, 0 or more");
  }
  return seconds;
}

std::vector<BlockTimes> block_times_from_json(const Json& json, std::size_t blocks, const std::string& source) {
  std::vector<BlockTimes> times;
  for (const Json& entry : json_list(json, "block_times", source)) {
    const std::string at = entry_source(source, "block_times", times.size());
    const std::int64_t batch = json_int(entry, "batch", at, 1);
    if (!times.empty() && batch <= times.back().batch) throw_wrong_key(at, "batch", "must rise from point to point");
    times.push_back(
        {batch, seconds_of_blocks(entry, "forward", blocks, at), seconds_of_blocks(entry, "backward", blocks, at)});
  }
  return times;
}

Json rank_to_json(const RankProfile& rank) {
  Json curve = Json::array();
  for (const CurvePoint& point : rank.curve) curve.push_back({{"batch", point.batch}, {"seconds", point.seconds}});
  return {{"rank", rank.rank},
          {"host", rank.host},
          {"device", rank.device},
          {"memory_bytes", rank.memory_bytes},
          {"max_batch", rank.max_batch},
          {"max_batch_from", to_text(rank.max_batch_from)},
          {"threads", rank.threads},
          {"speed", rank.speed},
          {"cores", rank.cores},
          {"update_seconds", rank.update_seconds},
          {"host_link_bytes_per_second", rank.host_link_bytes_per_second},
          {"link_bytes_per_second", rank.link_bytes_per_second},
          {"update_parameters_per_second", rank.update_parameters_per_second},
          {"contention_factor", rank.contention_factor},
          {"repeated", rank.repeated},
          {"curve", std::move(curve)},
          {"block_times", block_times_to_json(rank.block_times)}};
}

Json points_to_json(const std::vector<NetworkPoint>& points) {
  Json json = Json::array();
  for (const NetworkPoint& point : points) json.push_back({{"bytes", point.bytes}, {"seconds", point.seconds}});
  return json;
}

Json network_to_json(const NetworkProfile& network) {
  return {{"latency_seconds", network.latency_seconds},
          {"bytes_per_second", network.bytes_per_second},
          {"cpu_seconds_per_byte", network.cpu_seconds_per_byte},
          {"exposed_factor", network.exposed_factor},
          {"curve", points_to_json(network.curve)},
          {"messages", points_to_json(network.messages)}};
}

std::vector<NetworkPoint> points_from_json(const Json& json, std::string_view key, const std::string& source) {
  std::vector<NetworkPoint> points;
  for (const Json& entry : json_list(json, key, source)) {
    const std::string at = entry_source(source, key, points.size());
    const std::int64_t bytes = json_int(entry, "bytes", at, 1);
    if (!points.empty() && bytes <= points.back().bytes) throw_wrong_key(at, "bytes", "must rise from point to point");
    points.push_back({bytes, json_figure(entry, "seconds", at, kMaxSeconds)});
  }
  return points;
}

NetworkProfile network_from_json(const Json& json, const std::string& source) {
  NetworkProfile network;
  network.latency_seconds = json_figure(json, "latency_seconds", source, kMaxSeconds);
  network.bytes_per_second = json_figure(json, "bytes_per_second", source);
  network.cpu_seconds_per_byte = json_figure(json, "cpu_seconds_per_byte", source, 1);
  network.exposed_factor = json_positive(json, "exposed_factor", source, 1e6);
  network.curve = points_from_json(json, "curve", source);
  if (json.contains("messages")) network.messages = points_from_json(json, "messages", source);
  return network;
}

std::vector<CurvePoint> curve_from_json(const Json& json, std::int64_t max_batch, const std::string& source) {
  std::vector<CurvePoint> curve;
  for (const Json& entry : json_list(json, "curve", source)) {
    const std::string at = entry_source(source, "curve", curve.size());
    const std::int64_t batch = json_int(entry, "batch", at, 1);
    if (curve.empty() && batch != 1) throw_wrong_key(at, "batch", "must be 1: the curve begins with one sample");
    if (!curve.empty() && batch <= curve.back().batch) throw_wrong_key(at, "batch", "must rise from point to point");
    // A rank that does not hold the model was timed in parts.
    if (max_batch > 0 && batch > max_batch)
      throw_wrong_key(at, "batch", fmt::format("is above max_batch {}", max_batch));
    curve.push_back({batch, json_positive(entry, "seconds", at, kMaxSeconds)});
  }
  if (curve.empty() && max_batch > 0) throw_wrong_key(source, "curve", "must not be empty where max_batch is above 0");
  return curve;
}

RankProfile rank_from_json(const Json& json, std::size_t index, std::size_t blocks, const std::string& source) {
  require_rank(json, index, source);
  RankProfile rank;
  rank.rank = static_cast<int>(index);
  rank.host = json_value<std::string>(json, "host", source);
  rank.device = json_value<std::string>(json, "device", source);
  rank.memory_bytes = json_int(json, "memory_bytes", source, 0);
  rank.max_batch = json_int(json, "max_batch", source, 0, kLargestBatch);
  rank.max_batch_from = max_batch_from_json(json, source);
  rank.threads = static_cast<int>(json_int(json, "threads", source, 1, 1 << 20));
  rank.speed = json_positive(json, "speed", source, 1e6);
  rank.cores = json_positive(json, "cores", source, 1e6);
  rank.update_seconds = json_figure(json, "update_seconds", source, kMaxSeconds);
  rank.host_link_bytes_per_second = json_figure(json, "host_link_bytes_per_second", source);
  if (json.contains("link_bytes_per_second"))
    rank.link_bytes_per_second = json_figure(json, "link_bytes_per_second", source);
  rank.update_parameters_per_second = json_figure(json, "update_parameters_per_second", source);
  rank.contention_factor = json_positive(json, "contention_factor", source, 1e6);
  rank.repeated = json_positive(json, "repeated", source, 1e6);
  rank.curve = curve_from_json(json, rank.max_batch, source);
  rank.block_times = block_times_from_json(json, blocks, source);
  return rank;
}

std::vector<std::int64_t> shape_from_json(const Json& json, const std::string& source) {
  auto shape = json_value<std::vector<std::int64_t>>(json, "data_shape", source);
  for (const std::int64_t size : shape) {
    if (size < 1) throw_wrong_key(source, "data_shape", "must hold whole numbers from 1");
  }
  return shape;
}

}  // namespace

const char* to_text(MaxBatchFrom from) {
  switch (from) {
    case MaxBatchFrom::measured:
      return "measured";
    case MaxBatchFrom::estimated:
      return "estimated";
    case MaxBatchFrom::limit:
      return "limit";
  }
  return "";
}

double seconds_of(const BlockTimes& times) {
  return std::reduce(times.forward.begin(), times.forward.end()) +
         std::reduce(times.backward.begin(), times.backward.end());
}

nlohmann::json to_json(const Profile& profile) {
  Json ranks = Json::array();
  for (const RankProfile& rank : profile.ranks) ranks.push_back(rank_to_json(rank));
  Json json{{"version", kVersion},
            {"model", profile.model},
            {"data_shape", profile.data_shape},
            {"parameter_count", profile.parameter_count},
            {"gradient_bytes", profile.gradient_bytes},
            {"parameter_bytes", profile.parameter_bytes},
            {"exposed_bytes", profile.exposed_bytes},
            {"blocks", blocks_to_json(profile.blocks)},
            {"network", network_to_json(profile.network)},
            {"ranks", std::move(ranks)},
            {"disturbed", profile.disturbed}};
  json.update(to_json(profile.strategy));
  return json;
}

Profile profile_from_json(const nlohmann::json& json, const std::string& source) {
  require_this_version(json, source);
  Profile profile;
  profile.model = json_value<std::string>(json, "model", source);
  const Json keys = to_json(Strategy{});
  for (const auto& [key, value] : keys.items()) json_at(json, key, source);
  profile.strategy = strategy_from_json(json, source);
  profile.data_shape = shape_from_json(json, source);
  profile.parameter_count = json_int(json, "parameter_count", source, 0);
  profile.gradient_bytes = json_int(json, "gradient_bytes", source, 0);
  profile.parameter_bytes = json_int(json, "parameter_bytes", source, 0);
  profile.exposed_bytes = json_int(json, "exposed_bytes", source, 0);
  profile.blocks = blocks_from_json(json, source);
  profile.network = network_from_json(json_object(json, "network", source), source + ": network");
  for (const Json& entry : json_list(json, "ranks", source)) {
    const std::size_t index = profile.ranks.size();
    profile.ranks.push_back(rank_from_json(entry, index, profile.blocks.size(), entry_source(source, "ranks", index)));
  }
  if (profile.ranks.empty()) throw_wrong_key(source, "ranks", "must not be empty");
  profile.disturbed = json_value<std::vector<std::string>>(json, "disturbed", source);
  return profile;
}

Profile read_profile(const std::filesystem::path& path) {
  const Json json = read_json(path);
  refuse_other_kind(json, "a profile", path.string());
  return profile_from_json(json, path.string());
}

void write_profile(const std::filesystem::path& path, const Profile& profile) { write_json(path, to_json(profile)); }

}  // namespace lshdp::plan
