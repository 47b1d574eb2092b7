// Reading of metrics.jsonl, line by line.
#include "run_directory.h"

#include <limits>
#include <sstream>

#include <fmt/format.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

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

train::RankInfo rank_from_json(const Json& json, const std::string& source) {
  train::RankInfo rank;
  rank.rank = json_value<int>(json, "rank", source);
  rank.host = json_value<std::string>(json, "host", source);
  rank.batch = json_value<std::int64_t>(json, "batch", source);
  rank.max_batch = json_value<std::int64_t>(json, "max_batch", source);
  rank.speed = json_value<double>(json, "speed", source);
  rank.device = json_value_or<std::string>(json, "device", "cpu", source);
  return rank;
}

train::RunRecord run_from_json(const Json& json, const std::string& source) {
  require_version(json, 1, source);
  train::RunRecord run;
  run.model = json_value<std::string>(json, "model", source);
  run.strategy = plan::strategy_from_json(json, source);
  run.total = json_value<std::int64_t>(json, "total", source);
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

/// Reads the records of a run one after the other.
class RecordReader {
 public:
  explicit RecordReader(RunDirectory& run) : run_(run) {}
  /// Adds the record of one line; the first must be a launch.
  void add(const Json& json, const std::string& source) {
    const auto record = json_value<std::string>(json, "record", source);
    if (launch_.ranks.empty() && record != "run")
      throw_wrong_key(source, "record", "must be \"run\" on the first line");
    if (record == "run") {
      launch_ = run_from_json(json, source);
      is_fresh_ = true;
    } else if (record == "step") {
      add_step(step_from_json(json, launch_.ranks.size(), source), source);
    } else if (record == "evaluation") {
      run_.evaluations.push_back(evaluation_from_json(json, source));
    } else if (record == "rebalance") {
      run_.rebalances.push_back(rebalance_from_json(json, launch_.ranks.size(), source));
    } else {
      throw_wrong_key(source, "record", fmt::format("is '{}'; known are run, step, evaluation and rebalance", record));
    }
  }

 private:
  void add_step(train::StepRecord step, const std::string& source) {
    if (!run_.steps.empty() && step.step <= run_.steps.back().step)
      throw_wrong_key(source, "step", "must rise from line to line");
    if (is_fresh_) {
      run_.run = launch_;
      run_.first_of_launch = run_.steps.size();
      is_fresh_ = false;
    }
    run_.steps.push_back(std::move(step));
  }

  RunDirectory& run_;
  train::RunRecord launch_;
  bool is_fresh_ = false;  // no step of launch_ has come
};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

RunDirectory read_run_directory(const fs::path& path) {
  const fs::path file = path / "metrics.jsonl";
  if (!fs::exists(file)) {
    throw UsageError(
        fmt::format("{} is no run directory: it has no metrics.jsonl, which `lshdp train --results {}` writes",
                    path.string(), path.string()));
  }
  RunDirectory run;
  run.path = path;
  RecordReader reader(run);
  const std::vector<std::string> lines = lines_of(read_file(file));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool cut_off = i > 0 && i + 1 == lines.size() && !Json::accept(lines[i]);
    if (cut_off) break;
    const std::string source = fmt::format("{} line {}", file.string(), i + 1);
    reader.add(parse_json(lines[i], source), source);
  }
  if (run.steps.empty()) throw UsageError(fmt::format("{} holds no step: there is nothing to report", file.string()));
  return run;
}

}  // namespace lshdp::cli
