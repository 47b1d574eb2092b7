// Reading of records, each from its line.
#include "run_records.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace lshdp::cli {
namespace {

/// The number `key`; NaN where it is null.
double number_or_nan(const Json& object, std::string_view key, const std::string& source) {
  const bool is_null = object.is_object() && object.contains(key) && object.find(key)->is_null();
  return is_null ? std::numeric_limits<double>::quiet_NaN() : json_value<double>(object, key, source);
}

template <typename T = double>
std::vector<T> by_rank(const Json& object, std::string_view key, std::size_t ranks, const std::string& source) {
  auto values = json_value<std::vector<T>>(object, key, source);
  if (values.size() != ranks)
    throw_wrong_key(source, key, fmt::format("must have one value for each of {} ranks", ranks));
  return values;
}

/// The same; empty where there is no such key, or an empty list.
template <typename T = double>
std::vector<T> by_rank_or_none(const Json& object, std::string_view key, std::size_t ranks, const std::string& source) {
  const auto found = object.find(key);
  const bool known = found != object.end() && !(found->is_array() && found->empty());
  return known ? by_rank<T>(object, key, ranks, source) : std::vector<T>();
}

/// The number `key`; 0 where there is none, or it is null: not known.
double known_or_zero(const Json& object, std::string_view key, const std::string& source) {
  const double value = object.contains(key) ? number_or_nan(object, key, source) : 0;
  return std::isfinite(value) ? value : 0;
}

train::RankInfo rank_from_json(const Json& json, const std::string& source) {
  train::RankInfo rank;
  rank.rank = json_value<int>(json, "rank", source);
  rank.host = json_value<std::string>(json, "host", source);
  rank.batch = json_value<std::int64_t>(json, "batch", source);
  rank.max_batch = json_value<std::int64_t>(json, "max_batch", source);
  rank.speed = json_value<double>(json, "speed", source);
  rank.device = json_value_or<std::string>(json, "device", "cpu", source);
  rank.memory_bytes = json_value_or<std::int64_t>(json, "memory_bytes", 0, source);
  rank.peak_flops = known_or_zero(json, "peak_flops", source);
  return rank;
}

}  // namespace

train::RunRecord run_from_json(const Json& json, const std::string& source) {
  require_version(json, 1, source);
  train::RunRecord run;
  run.model = json_value<std::string>(json, "model", source);
  run.strategy = plan::strategy_from_json(json, source);
  run.total = json_value<std::int64_t>(json, "total", source);
  run.tokens_per_sample = json_value_or<std::int64_t>(json, "tokens_per_sample", 0, source);
  run.resumed_after = json_value_or<std::int64_t>(json, "resumed_after", 0, source);
  run.time = json_value_or<std::string>(json, "time", "", source);
  run.last_step = json_value_or<std::int64_t>(json, "last_step", 0, source);
  run.flops_per_sample = known_or_zero(json, "flops_per_sample", source);
  for (const Json& entry : json_value<std::vector<Json>>(json, "ranks", source)) {
    run.ranks.push_back(rank_from_json(entry, fmt::format("{}: ranks[{}]", source, run.ranks.size())));
  }
  if (run.ranks.empty()) throw_wrong_key(source, "ranks", "must not be empty");
  const Json predicted = json_value<Json>(json, "predicted", source);
  if (!predicted.is_null())
    run.predicted = plan::prediction_from_json(predicted, run.ranks.size(), source + ": predicted");
  return run;
}

train::StepRecord step_from_json(const Json& json, std::size_t ranks, const std::string& source) {
  train::StepRecord step;
  step.step = json_value<std::int64_t>(json, "step", source);
  step.epoch = json_value<std::int64_t>(json, "epoch", source);
  step.loss = number_or_nan(json, "loss", source);
  step.learning_rate = json_value<double>(json, "learning_rate", source);
  step.gradient_norm = number_or_nan(json, "gradient_norm", source);
  step.samples = json_value<std::int64_t>(json, "samples", source);
  step.step_seconds = json_value<double>(json, "step_seconds", source);
  step.compute_seconds = by_rank(json, "compute_seconds", ranks, source);
  step.communication_seconds = by_rank(json, "communication_seconds", ranks, source);
  step.wait_seconds = by_rank(json, "wait_seconds", ranks, source);
  step.skipped = json_value_or<bool>(json, "skipped", false, source);
  step.batches = by_rank_or_none<std::int64_t>(json, "batches", ranks, source);
  step.rank_seconds = by_rank_or_none(json, "rank_seconds", ranks, source);
  step.bytes_sent = by_rank_or_none<std::int64_t>(json, "bytes_sent", ranks, source);
  step.peak_tensor_bytes = by_rank_or_none<std::int64_t>(json, "peak_tensor_bytes", ranks, source);
  step.time = json_value_or<std::string>(json, "time", "", source);
  if (json.contains("model_flops_utilization"))
    step.model_flops_utilization = json_value<double>(json, "model_flops_utilization", source);
  return step;
}

train::RebalanceRecord rebalance_from_json(const Json& json, std::size_t ranks, const std::string& source) {
  train::RebalanceRecord rebalance;
  rebalance.step = json_value<std::int64_t>(json, "step", source);
  rebalance.batches_before = by_rank<std::int64_t>(json, "batches_before", ranks, source);
  rebalance.batches = by_rank<std::int64_t>(json, "batches", ranks, source);
  rebalance.slowness_before = by_rank(json, "slowness_before", ranks, source);
  rebalance.slowness = by_rank(json, "slowness", ranks, source);
  rebalance.step_seconds = json_value<double>(json, "step_seconds", source);
  rebalance.expected_step_seconds = json_value<double>(json, "expected_step_seconds", source);
  rebalance.profiled = json_value<bool>(json, "profiled", source);
  if (!json.contains("cuts")) return rebalance;
  rebalance.cuts_before = json_value<std::vector<std::int64_t>>(json, "cuts_before", source);
  rebalance.cuts = json_value<std::vector<std::int64_t>>(json, "cuts", source);
  rebalance.moved_bytes = json_value<std::int64_t>(json, "moved_bytes", source);
  rebalance.move_seconds = json_value<double>(json, "move_seconds", source);
  return rebalance;
}

train::EvaluationRecord evaluation_from_json(const Json& json, const std::string& source) {
  train::EvaluationRecord evaluation;
  evaluation.step = json_value<std::int64_t>(json, "step", source);
  evaluation.loss = number_or_nan(json, "loss", source);
  const double accuracy = number_or_nan(json, "accuracy", source);
  if (accuracy == accuracy) evaluation.accuracy = accuracy;
  evaluation.samples = json_value<std::int64_t>(json, "samples", source);
  return evaluation;
}

}  // namespace lshdp::cli
