// batches.json: a Plan as JSON, checked as it is read, and plans from batches alone.
#include "lshdp/plan/plan.h"

#include <algorithm>

#include "checked_json.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

constexpr int kVersion = 1;
/// A plan with longer lists of micro-batches is a mistake (a rank that holds one sample and a batch of millions).
constexpr std::int64_t kMaxMicroBatches = 1'000'000;

Json rank_to_json(const RankPlan& rank) {
  return {{"rank", rank.rank}, {"host", rank.host}, {"batch", rank.batch}, {"micro_batches", rank.micro_batches}};
}

Json ranks_to_json(const Plan& plan) {
  Json ranks = Json::array();
  for (const RankPlan& rank : plan.ranks) {
    ranks.push_back(rank_to_json(rank));
    if (!plan.shard_weights.empty()) ranks.back()["shard_weight"] = plan.shard_weights.at(ranks.size() - 1);
  }
  return ranks;
}

bool is_present(const Json& json, std::string_view key) { return json.contains(key) && !json.find(key)->is_null(); }

std::vector<std::int64_t> batch_list(const Json& json, std::string_view key, const std::string& source,
                                     std::int64_t low) {
  auto values = json_value<std::vector<std::int64_t>>(json, key, source);
  for (const std::int64_t value : values) {
    if (value < low || value > kLargestBatch) {
      throw_wrong_key(source, key, fmt::format("must hold whole numbers from {} to {}", low, kLargestBatch));
    }
  }
  return values;
}

std::int64_t sum_of(const std::vector<std::int64_t>& values) {
  std::int64_t total = 0;
  for (const std::int64_t value : values) total += value;
  return total;
}

RankPlan rank_from_json(const Json& json, std::size_t index, const std::string& source) {
  require_rank(json, index, source);
  RankPlan rank;
  rank.rank = static_cast<int>(index);
  rank.host = json_value_or<std::string>(json, "host", "", source);
  rank.batch = json_int(json, "batch", source, 0, kLargestBatch);
  rank.micro_batches = batch_list(json, "micro_batches", source, 1);
  if (const std::int64_t added = sum_of(rank.micro_batches); added != rank.batch) {
    throw_wrong_key(source, "micro_batches", fmt::format("add up to {}, but batch is {}", added, rank.batch));
  }
  return rank;
}

/// The ranks of the short form: one micro-batch each.
std::vector<RankPlan> ranks_of_batches(const std::vector<std::int64_t>& batches) {
  std::vector<RankPlan> ranks;
  for (const std::int64_t batch : batches) {
    ranks.push_back({static_cast<int>(ranks.size()), "", batch, {}});
    if (batch > 0) ranks.back().micro_batches = {batch};
  }
  return ranks;
}

std::vector<RankPlan> ranks_from_json(const Json& json, const std::string& source) {
  if (json.contains("batches")) {
    if (json.contains("ranks")) throw_wrong_key(source, "batches", "and \"ranks\" exclude each other; keep one");
    return ranks_of_batches(batch_list(json, "batches", source, 0));
  }
  std::vector<RankPlan> ranks;
  for (const Json& entry : json_list(json, "ranks", source)) {
    ranks.push_back(rank_from_json(entry, ranks.size(), entry_source(source, "ranks", ranks.size())));
  }
  return ranks;
}

/// Of all ranks or of none.
ShardWeights shard_weights_from_json(const Json& json, const std::string& source) {
  ShardWeights weights;
  if (json.contains("batches")) return weights;
  std::size_t index = 0;
  for (const Json& entry : json_list(json, "ranks", source)) {
    const std::string at = entry_source(source, "ranks", index);
    if (entry.contains("shard_weight") != (index == 0 ? entry.contains("shard_weight") : !weights.empty()))
      throw_wrong_key(at, "shard_weight", "must be given for every rank, or for none");
    if (entry.contains("shard_weight")) weights.push_back(json_int(entry, "shard_weight", at, 0, kLargestBatch));
    ++index;
  }
  if (!weights.empty() && std::ranges::max(weights) == 0)
    throw_wrong_key(source, "shard_weight", "must be above 0 for one rank at least");
  return weights;
}

std::int64_t total_of(const std::vector<RankPlan>& ranks) {
  std::int64_t total = 0;
  for (const RankPlan& rank : ranks) total += rank.batch;
  return total;
}

void check_total(const Json& json, const Plan& plan, const std::string& source) {
  if (plan.total < 1) throw UsageError(source + ": all batches are 0; give at least one rank a sample");
  const bool short_form = json.contains("batches");
  if (short_form && !json.contains("total")) return;
  if (const std::int64_t stated = json_int(json, "total", source, 1); stated != plan.total) {
    throw_wrong_key(source, "total", fmt::format("is {}, but the batches add up to {}", stated, plan.total));
  }
}

/// The step_seconds of the object `key`; 0 where there is none.
double step_seconds_of(const Json& json, const char* key, const std::string& source) {
  if (!is_present(json, key)) return 0;
  return json_positive(json_object(json, key, source), "step_seconds", source + ": " + key, kMaxSeconds);
}

Json to_json(const LeaveOut& run) {
  return {{"ranks", run.ranks}, {"step_seconds", run.step_seconds}, {"samples_per_second", run.samples_per_second}};
}

LeaveOut leave_out_from_json(const Json& json, std::size_t ranks, const std::string& source) {
  LeaveOut run{json_value<std::vector<std::int64_t>>(json, "ranks", source),
               json_positive(json, "step_seconds", source, kMaxSeconds),
               json_figure(json, "samples_per_second", source)};
  for (const std::int64_t rank : run.ranks) {
    if (rank < 0 || rank >= static_cast<std::int64_t>(ranks)) {
      throw_wrong_key(source, "ranks", fmt::format("must hold numbers of ranks, from 0 to {}", ranks - 1));
    }
  }
  return run;
}

/// `count` micro-batches as equal as possible, the larger ones first.
std::vector<std::int64_t> equal_parts(std::int64_t batch, std::int64_t count) {
  std::vector<std::int64_t> parts(static_cast<std::size_t>(count), batch / count);
  for (std::int64_t i = 0; i < batch % count; ++i) ++parts[static_cast<std::size_t>(i)];
  return parts;
}

std::vector<std::int64_t> cut_batch(std::int64_t batch, std::int64_t max_batch, std::size_t rank) {
  if (batch == 0) return {};
  if (max_batch < 1) {
    throw UsageError(fmt::format("batch {} of rank {} does not fit: the rank cannot hold one sample", batch, rank));
  }
  const std::int64_t count = batch / max_batch + (batch % max_batch != 0);
  if (count > kMaxMicroBatches) {
    throw UsageError(fmt::format("batch {} of rank {} needs {} micro-batches of at most {}; the most is {}", batch,
                                 rank, count, max_batch, kMaxMicroBatches));
  }
  return equal_parts(batch, count);
}

}  // namespace

nlohmann::json to_json(const Prediction& predicted) {
  if (predicted.step_seconds <= 0) return nullptr;
  return {{"step_seconds", predicted.step_seconds},
          {"samples_per_second", predicted.samples_per_second},
          {"compute_seconds", predicted.compute_seconds},
          {"communication_seconds", predicted.communication_seconds},
          {"exposed_seconds", predicted.exposed_seconds}};
}

Prediction prediction_from_json(const nlohmann::json& json, std::size_t ranks, const std::string& source) {
  Prediction predicted;
  if (json.is_null()) return predicted;
  predicted.step_seconds = json_positive(json, "step_seconds", source, kMaxSeconds);
  predicted.samples_per_second = json_figure(json, "samples_per_second", source);
  predicted.communication_seconds = json_figure(json, "communication_seconds", source, kMaxSeconds);
  predicted.exposed_seconds = json_figure(json, "exposed_seconds", source, kMaxSeconds);
  predicted.compute_seconds = json_value<std::vector<double>>(json, "compute_seconds", source);
  for (const double seconds : predicted.compute_seconds) {
    if (!(seconds >= 0 && seconds <= kMaxSeconds)) {
      throw_wrong_key(source, "compute_seconds", "must hold finite numbers, 0 or more");
    }
  }
  if (predicted.compute_seconds.size() != ranks) {
    throw_wrong_key(source, "compute_seconds", fmt::format("must have one value for each of {} ranks", ranks));
  }
  return predicted;
}

nlohmann::json to_json(const Plan& plan) {
  const auto step_or_null = [](double seconds) { return seconds > 0 ? Json{{"step_seconds", seconds}} : Json(); };
  Json json = {{"version", kVersion},
               {"model", plan.model},
               {"total", plan.total},
               {"ranks", ranks_to_json(plan)},
               {"predicted", to_json(plan.predicted)},
               {"equal_split", step_or_null(plan.equal_split_step_seconds)},
               {"leave_out", plan.leave_out ? to_json(*plan.leave_out) : Json()}};
  if (plan.strategy) json.update(to_json(*plan.strategy));
  if (plan.transfer) json["transfer"] = to_json(*plan.transfer);
  return json;
}

Plan plan_from_json(const nlohmann::json& json, const std::string& source) {
  require_version(json, kVersion, source);
  Plan plan;
  plan.model = json_value_or<std::string>(json, "model", "", source);
  // A plan written by hand may say its mode alone.
  if (json.contains("mode")) plan.strategy = strategy_from_json(json, source);
  if (!json.contains("precision")) plan.strategy.reset();
  plan.ranks = ranks_from_json(json, source);
  plan.shard_weights = shard_weights_from_json(json, source);
  plan.total = total_of(plan.ranks);
  check_total(json, plan, source);
  if (is_present(json, "predicted")) {
    plan.predicted =
        prediction_from_json(json_object(json, "predicted", source), plan.ranks.size(), source + ": predicted");
  }
  plan.equal_split_step_seconds = step_seconds_of(json, "equal_split", source);
  if (is_present(json, "leave_out"))
    plan.leave_out =
        leave_out_from_json(json_object(json, "leave_out", source), plan.ranks.size(), source + ": leave_out");
  if (is_present(json, "transfer"))
    plan.transfer = transfer_sizes_from_json(json_object(json, "transfer", source), source + ": transfer");
  return plan;
}

Plan read_plan(const std::filesystem::path& path) {
  const Json json = read_json(path);
  refuse_other_kind(json, "a plan", path.string());
  return plan_from_json(json, path.string());
}

void write_plan(const std::filesystem::path& path, const Plan& plan) { write_json(path, to_json(plan)); }

std::vector<std::int64_t> in_training_order(std::vector<std::int64_t> micro_batches) {
  std::ranges::sort(micro_batches, std::greater<>());
  if (micro_batches.size() > 1) std::ranges::rotate(micro_batches, micro_batches.begin() + 1);
  return micro_batches;
}

std::vector<std::int64_t> batches_of(const Plan& plan) {
  std::vector<std::int64_t> batches;
  for (const RankPlan& rank : plan.ranks) batches.push_back(rank.batch);
  return batches;
}

std::vector<std::int64_t> micro_batches_of(const RankPlan& rank, std::int64_t samples) {
  std::vector<std::int64_t> micro_batches;
  for (const std::int64_t planned : rank.micro_batches) {
    if (samples == 0) break;
    micro_batches.push_back(std::min(planned, samples));
    samples -= micro_batches.back();
  }
  return micro_batches;
}

Plan plan_from_batches(const std::vector<std::int64_t>& batches, const std::vector<std::int64_t>& max_batch) {
  if (!max_batch.empty() && max_batch.size() != batches.size()) {
    throw_wrong_list_length(batches.size(), static_cast<int>(max_batch.size()), "batches");
  }
  Plan plan;
  for (std::size_t rank = 0; rank < batches.size(); ++rank) {
    const std::int64_t batch = batches[rank];
    if (batch < 0 || batch > kLargestBatch) {
      throw UsageError(fmt::format("batch {} of rank {} must be from 0 to {}", batch, rank, kLargestBatch));
    }
    auto micro_batches = in_training_order(cut_batch(batch, max_batch.empty() ? kLargestBatch : max_batch[rank], rank));
    plan.ranks.push_back({static_cast<int>(rank), "", batch, std::move(micro_batches)});
  }
  plan.total = total_of(plan.ranks);
  if (plan.total == 0) throw UsageError("all batches are 0; give at least one rank a sample");
  return plan;
}

}  // namespace lshdp::plan
