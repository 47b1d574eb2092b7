// layout.json: a Layout as JSON, checked as it is read.
#include <algorithm>
#include <map>

#include "checked_json.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/layout.h"

namespace lshdp::plan {
namespace {

constexpr int kVersion = 1;
/// Ranks are ints to MPI, and a message names one more.
constexpr std::int64_t kLargestRank = std::numeric_limits<int>::max() - 1;
/// More blocks than any model has; with it, their numbers cannot overflow.
constexpr std::int64_t kMostBlocks = 1'000'000'000;
constexpr std::int64_t kMostInFlight = 1'000'000'000;

Json to_json(const StageTime& time) {
  return {{"forward_seconds", time.forward_seconds},
          {"backward_seconds", time.backward_seconds},
          {"send_seconds", time.send_seconds}};
}

Json to_json(const Stage& stage) {
  Json json = {{"rank", stage.rank}, {"start", stage.start}, {"end", stage.end}};
  if (stage.in_flight) json["in_flight"] = *stage.in_flight;
  if (stage.predicted) json["predicted"] = to_json(*stage.predicted);
  if (stage.predicted_bytes > 0) json["predicted_bytes"] = stage.predicted_bytes;
  return json;
}

Json to_json(const Replica& replica) {
  Json json = {{"batch", replica.batch}, {"micro_batches", replica.micro_batches}, {"stages", Json::array()}};
  for (const Stage& stage : replica.stages) json["stages"].push_back(to_json(stage));
  return json;
}

/// A misspelt key that may be missing would be passed over in silence.
void refuse_unknown_keys(const Json& json, const std::vector<std::string>& known, const std::string& source) {
  if (!json.is_object()) throw UsageError(source + ": must be an object");
  for (const auto& entry : json.items()) {
    if (std::ranges::find(known, entry.key()) != known.end()) continue;
    throw_wrong_key(source, printable(entry.key()), "is not a key of a layout" + did_you_mean(entry.key(), known));
  }
}

/// The list `key`, which must have an entry.
const Json& filled_list(const Json& json, std::string_view key, const std::string& source) {
  const Json& list = json_list(json, key, source);
  if (list.empty()) throw_wrong_key(source, key, "must have at least one entry");
  return list;
}

StageTime stage_time_from_json(const Json& json, const std::string& source) {
  refuse_unknown_keys(json, {"forward_seconds", "backward_seconds", "send_seconds"}, source);
  return {json_figure(json, "forward_seconds", source, kMaxSeconds),
          json_figure(json, "backward_seconds", source, kMaxSeconds),
          json_figure(json, "send_seconds", source, kMaxSeconds)};
}

Stage stage_from_json(const Json& json, const std::string& source) {
  refuse_unknown_keys(json, {"rank", "start", "end", "in_flight", "predicted", "predicted_bytes"}, source);
  Stage stage;
  stage.rank = json_int(json, "rank", source, 0, kLargestRank);
  stage.start = static_cast<std::size_t>(json_int(json, "start", source, 0, kMostBlocks));
  stage.end = static_cast<std::size_t>(json_int(json, "end", source, 0, kMostBlocks));
  if (json.contains("in_flight")) stage.in_flight = json_int(json, "in_flight", source, 1, kMostInFlight);
  if (json.contains("predicted"))
    stage.predicted = stage_time_from_json(json_object(json, "predicted", source), source + ": predicted");
  if (json.contains("predicted_bytes")) stage.predicted_bytes = json_int(json, "predicted_bytes", source, 0);
  if (stage.end <= stage.start) {
    throw_wrong_key(source, "end",
                    fmt::format("must be above start, which is {}: a stage has a block at least, and "
                                "ends before block \"end\"",
                                stage.start));
  }
  return stage;
}

std::vector<std::int64_t> micro_batches_from_json(const Json& json, std::int64_t batch, const std::string& source) {
  if (!json.contains("micro_batches")) return {batch};
  auto sizes = json_value<std::vector<std::int64_t>>(json, "micro_batches", source);
  std::int64_t added = 0;
  for (const std::int64_t size : sizes) {
    if (size < 1 || size > kLargestBatch)
      throw_wrong_key(source, "micro_batches", fmt::format("must hold whole numbers from 1 to {}", kLargestBatch));
    added += size;
  }
  if (added != batch)
    throw_wrong_key(source, "micro_batches", fmt::format("add up to {}, but batch is {}", added, batch));
  return sizes;
}

/// Stages must follow each other from block 0.
void check_start(const Stage& stage, std::size_t end_before, const std::string& source) {
  if (stage.start == end_before) return;
  const char* problem = stage.start > end_before ? "missing" : "there twice";
  const auto [from, to] = std::minmax(stage.start, end_before);
  throw_wrong_key(
      source, "start",
      fmt::format("is {}, but must be {}, the end of the stage before (0 of the first): {} {}", stage.start, end_before,
                  to - from == 1 ? fmt::format("block {} is", from) : fmt::format("blocks {}..{} are", from, to - 1),
                  problem));
}

Replica replica_from_json(const Json& json, const std::string& source) {
  refuse_unknown_keys(json, {"batch", "micro_batches", "stages"}, source);
  Replica replica;
  replica.batch = json_int(json, "batch", source, 1, kLargestBatch);
  replica.micro_batches = micro_batches_from_json(json, replica.batch, source);
  std::size_t end = 0;
  for (const Json& entry : filled_list(json, "stages", source)) {
    const std::string at = entry_source(source, "stages", replica.stages.size());
    replica.stages.push_back(stage_from_json(entry, at));
    check_start(replica.stages.back(), end, at);
    end = replica.stages.back().end;
  }
  return replica;
}

std::size_t blocks_from_json(const Json& json, const std::vector<Replica>& replicas, const std::string& source) {
  if (json.contains("blocks")) return static_cast<std::size_t>(json_int(json, "blocks", source, 1, kMostBlocks));
  std::size_t blocks = 0;
  for (const Replica& replica : replicas) blocks = std::max(blocks, replica.stages.back().end);
  return blocks;
}

std::string stage_source(const std::string& source, std::size_t replica, std::size_t stage) {
  return entry_source(entry_source(source, "replicas", replica), "stages", stage);
}

void check_ends(const Layout& layout, const std::string& source) {
  for (std::size_t index = 0; index < layout.replicas.size(); ++index) {
    const std::vector<Stage>& stages = layout.replicas[index].stages;
    if (stages.back().end == layout.blocks) continue;
    throw_wrong_key(stage_source(source, index, stages.size() - 1), "end",
                    fmt::format("is {}, but the last stage must end with the model, which has {} blocks",
                                stages.back().end, layout.blocks));
  }
}

struct Place {
  std::size_t replica = 0, stage = 0;
};

/// Whether a rank that has `first` may have `second`, a later one, too.
bool may_share_rank(const Layout& layout, const Place& first, const Place& second) {
  const std::size_t last = layout.replicas[second.replica].stages.size() - 1;
  return first.replica == second.replica && first.stage == 0 && second.stage == last && last >= 2;
}

void check_ranks(const Layout& layout, const std::string& source) {
  std::map<std::int64_t, Place> seen;
  for (std::size_t replica = 0; replica < layout.replicas.size(); ++replica) {
    const std::vector<Stage>& stages = layout.replicas[replica].stages;
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      const auto [found, is_new] = seen.try_emplace(stages[stage].rank, Place{replica, stage});
      if (is_new || may_share_rank(layout, found->second, {replica, stage})) continue;
      throw_wrong_key(stage_source(source, replica, stage), "rank",
                      fmt::format("is {}, which has stages[{}] of replicas[{}] already; a rank has one stage, or the "
                                  "first and the last of one replica with another rank's between them",
                                  stages[stage].rank, found->second.stage, found->second.replica));
    }
  }
}

PipelineSchedule schedule_from_json(const Json& json, const std::string& source) {
  if (!json.contains("schedule")) return PipelineSchedule::one_f_one_b;
  const auto text = json_value<std::string>(json, "schedule", source);
  for (const auto schedule : {PipelineSchedule::one_f_one_b, PipelineSchedule::gpipe}) {
    if (text == to_text(schedule)) return schedule;
  }
  throw_wrong_key(source, "schedule", fmt::format("must be 1f1b or gpipe, not '{}'", printable(text)));
}

std::int64_t largest_rank_of(const Layout& layout) {
  std::int64_t largest = 0;
  for (const Replica& replica : layout.replicas) {
    for (const Stage& stage : replica.stages) largest = std::max(largest, stage.rank);
  }
  return largest;
}

/// A layout does not say how many ranks its run has: those after the largest may be left out.
Prediction layout_prediction(const Json& json, const Layout& layout, const std::string& source) {
  if (!json.contains("predicted") || json["predicted"].is_null()) return {};
  const std::string at = source + ": predicted";
  const Json& predicted = json_object(json, "predicted", source);
  const std::size_t ranks = json_list(predicted, "compute_seconds", at).size();
  const std::int64_t largest = largest_rank_of(layout);
  if (static_cast<std::int64_t>(ranks) <= largest) {
    throw_wrong_key(
        at, "compute_seconds",
        fmt::format("has {} values, but the layout has rank {}; there must be one for each rank", ranks, largest));
  }
  return prediction_from_json(predicted, ranks, at);
}

}  // namespace

nlohmann::json to_json(const Layout& layout) {
  Json json = {{"version", kVersion},
               {"blocks", layout.blocks},
               {"schedule", to_text(layout.schedule)},
               {"replicas", Json::array()}};
  if (!layout.model.empty()) json["model"] = layout.model;
  for (const Replica& replica : layout.replicas) json["replicas"].push_back(to_json(replica));
  if (layout.strategy) json["strategy"] = to_json(*layout.strategy);
  if (layout.predicted.step_seconds > 0) json["predicted"] = to_json(layout.predicted);
  return json;
}

Layout layout_from_json(const nlohmann::json& json, const std::string& source) {
  require_version(json, kVersion, source);
  refuse_unknown_keys(json, {"version", "model", "blocks", "schedule", "replicas", "strategy", "predicted"}, source);
  Layout layout;
  layout.model = json_value_or<std::string>(json, "model", "", source);
  layout.schedule = schedule_from_json(json, source);
  for (const Json& entry : filled_list(json, "replicas", source)) {
    layout.replicas.push_back(replica_from_json(entry, entry_source(source, "replicas", layout.replicas.size())));
  }
  layout.blocks = blocks_from_json(json, layout.replicas, source);
  check_ends(layout, source);
  check_ranks(layout, source);
  if (json.contains("strategy"))
    layout.strategy = strategy_from_json(json_object(json, "strategy", source), source + ": strategy");
  layout.predicted = layout_prediction(json, layout, source);
  return layout;
}

Layout read_layout(const std::filesystem::path& path) {
  const Json json = read_json(path);
  refuse_other_kind(json, "a layout", path.string());
  return layout_from_json(json, path.string());
}

void write_layout(const std::filesystem::path& path, const Layout& layout) { write_json(path, to_json(layout)); }

}  // namespace lshdp::plan
