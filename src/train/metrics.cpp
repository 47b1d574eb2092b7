// Writing of metrics.jsonl and summary.json.
#include "lshdp/train/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "lshdp/core/json.h"
#include "lshdp/core/median.h"
#include "lshdp/core/wall_time.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

/// JSON has no infinities and no NaN.
Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json known_or_null(double value) { return value > 0 ? Json(value) : Json(); }

Json prediction_json(const std::optional<plan::Prediction>& predicted) {
  return predicted ? plan::to_json(*predicted) : Json();
}

Json rank_json(const RankInfo& rank) {
  return {{"rank", rank.rank},   {"host", rank.host},           {"device", rank.device},
          {"batch", rank.batch}, {"max_batch", rank.max_batch}, {"speed", rank.speed}};
}

double per_second(std::int64_t count, const StepRecord& record) {
  return record.step_seconds > 0 ? static_cast<double>(count) / record.step_seconds : 0;
}

/// The whole number `key`; `otherwise` where there is none.
std::int64_t whole_number_or(const Json& record, const char* key, std::int64_t otherwise) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number_integer() ? found->get<std::int64_t>() : otherwise;
}

/// Whether a run that goes on after `step` keeps a record: those of steps up to it, and of launches that made any.
bool is_kept(const Json& record, std::int64_t step) {
  if (!record.is_object()) return false;
  if (record.value("record", Json()) == "run") return whole_number_or(record, "resumed_after", 0) < step;
  return whole_number_or(record, "step", step + 1) <= step;
}

/// The lines of `text` that a run continued after `step` keeps.
std::string lines_up_to(const std::string& text, std::int64_t step) {
  std::istringstream lines(text);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    // An interrupted run may have left half a line.
    if (is_kept(Json::parse(line, nullptr, false), step)) kept += line + '\n';
  }
  return kept;
}

constexpr std::size_t kMostWarmUp = 10;

std::size_t warm_up_of(std::size_t steps) {
  const std::size_t skipped = std::min(kMostWarmUp, (steps + 9) / 10);
  return skipped < steps ? skipped : 0;
}

void add_each(std::vector<double>& sums, const std::vector<double>& values) {
  sums.resize(std::max(sums.size(), values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

double mean(double sum, const StepTotals& totals) {
  return totals.count == 0 ? 0 : sum / static_cast<double>(totals.count);
}

double mean_of(const std::vector<double>& sums, std::size_t rank, const StepTotals& totals) {
  return rank < sums.size() ? mean(sums[rank], totals) : 0;
}

}  // namespace

std::optional<double> model_flops_utilization(const RunRecord& run, const StepRecord& step) {
  double possible = 0;
  for (const RankInfo& rank : run.ranks) {
    if (rank.peak_flops <= 0) return std::nullopt;
    possible += rank.peak_flops;
  }
  if (run.flops_per_sample <= 0 || possible <= 0) return std::nullopt;
  return run.flops_per_sample * per_second(step.samples, step) / possible;
}

Json to_json(const RunRecord& record) {
  Json ranks = Json::array();
  for (const RankInfo& rank : record.ranks) {
    ranks.push_back(rank_json(rank));
    ranks.back()["memory_bytes"] = rank.memory_bytes;
    ranks.back()["peak_flops"] = known_or_null(rank.peak_flops);
  }
  Json json{{"record", "run"},
            {"version", 1},
            {"model", record.model},
            {"total", record.total},
            {"tokens_per_sample", record.tokens_per_sample},
            {"resumed_after", record.resumed_after},
            {"time", record.time},
            {"last_step", record.last_step},
            {"flops_per_sample", known_or_null(record.flops_per_sample)},
            {"ranks", ranks},
            {"predicted", prediction_json(record.predicted)}};
  json.update(plan::to_json(record.strategy));
  return json;
}

Json to_json(const StepRecord& record) {
  Json json{{"record", "step"},
            {"step", record.step},
            {"epoch", record.epoch},
            {"loss", number_or_null(record.loss)},
            {"learning_rate", record.learning_rate},
            {"gradient_norm", number_or_null(record.gradient_norm)},
            {"samples", record.samples},
            {"step_seconds", record.step_seconds},
            {"samples_per_second", per_second(record.samples, record)},
            {"batches", record.batches},
            {"compute_seconds", record.compute_seconds},
            {"communication_seconds", record.communication_seconds},
            {"wait_seconds", record.wait_seconds},
            {"cpu_seconds", record.cpu_seconds},
            {"communication_cpu_seconds", record.communication_cpu_seconds},
            {"rank_seconds", record.rank_seconds},
            {"time", record.time}};
  if (record.loss_scale) {
    json["loss_scale"] = *record.loss_scale;
    json["skipped"] = record.skipped;
  }
  if (!record.bytes_sent.empty()) json["bytes_sent"] = record.bytes_sent;
  if (!record.peak_tensor_bytes.empty()) json["peak_tensor_bytes"] = record.peak_tensor_bytes;
  if (record.tokens > 0) json["tokens_per_second"] = per_second(record.tokens, record);
  if (record.model_flops_utilization) json["model_flops_utilization"] = *record.model_flops_utilization;
  return json;
}

namespace {

Json results_of(const EvaluationRecord& record) {
  Json json{{"loss", number_or_null(record.loss)}, {"accuracy", record.accuracy ? Json(*record.accuracy) : Json()}};
  if (record.average_loss) json["average_loss"] = number_or_null(*record.average_loss);
  if (record.average_accuracy) json["average_accuracy"] = *record.average_accuracy;
  return json;
}

}  // namespace

Json to_json(const EvaluationRecord& record) {
  Json json{{"record", "evaluation"}, {"step", record.step}, {"samples", record.samples}};
  json.update(results_of(record));
  return json;
}

Json to_json(const RebalanceRecord& record) {
  Json json{{"record", "rebalance"},
            {"step", record.step},
            {"batches_before", record.batches_before},
            {"batches", record.batches},
            {"slowness_before", record.slowness_before},
            {"slowness", record.slowness},
            {"step_seconds", record.step_seconds},
            {"expected_step_seconds", record.expected_step_seconds},
            {"profiled", record.profiled}};
  if (record.cuts.empty()) return json;
  json["cuts_before"] = record.cuts_before;
  json["cuts"] = record.cuts;
  json["moved_bytes"] = record.moved_bytes;
  json["move_seconds"] = record.move_seconds;
  return json;
}

void StepTotals::add(const StepRecord& step) {
  ++count;
  samples += step.samples;
  step_seconds += step.step_seconds;
  add_each(compute_seconds, step.compute_seconds);
  add_each(communication_seconds, step.communication_seconds);
  add_each(wait_seconds, step.wait_seconds);
  add_each(cpu_seconds, step.cpu_seconds);
  add_each(communication_cpu_seconds, step.communication_cpu_seconds);
  each_step_seconds.push_back(static_cast<float>(step.step_seconds));
}

MetricsWriter::MetricsWriter(const fs::path& folder, RunRecord run)
    : run_(std::move(run)), last_step_(run_.resumed_after) {
  if (folder.empty()) return;
  const fs::path path = folder / "metrics.jsonl";
  std::string kept;
  if (run_.resumed_after > 0 && fs::exists(path)) kept = lines_up_to(read_file(path), run_.resumed_after);
  write_file(path, kept + json_text(to_json(run_)) + "\n");
  file_.emplace(path, true);
}

void MetricsWriter::add(const StepRecord& record) {
  if (first_.size() < kMostWarmUp)
    first_.push_back(record);
  else
    later_.add(record);
  last_step_ = record.step;
  last_loss_ = record.loss;
  samples_ += record.samples;
  skipped_steps_ += record.skipped ? 1 : 0;
  write(to_json(record));
}

void MetricsWriter::add(const EvaluationRecord& record) {
  evaluation_ = record;
  Json line = to_json(record);
  line["time"] = utc_time_text();
  write(line);
}

void MetricsWriter::add(const RebalanceRecord& record) {
  rebalances_.push_back(record);
  Json line = to_json(record);
  line["time"] = utc_time_text();
  write(line);
}

void MetricsWriter::write(const Json& line) {
  if (file_) file_->write(json_text(line));
}

/// Of the steps that timing figures are taken from, as without_warm_up() says.
StepTotals MetricsWriter::timed() const {
  StepTotals totals = later_;
  const std::size_t skipped = warm_up_of(first_.size() + static_cast<std::size_t>(later_.count));
  for (std::size_t i = skipped; i < first_.size(); ++i) totals.add(first_[i]);
  return totals;
}

Json MetricsWriter::summary(double seconds, bool finished) const {
  const StepTotals timed = this->timed();
  const double typical = median({timed.each_step_seconds.begin(), timed.each_step_seconds.end()});
  const double average = mean(timed.step_seconds, timed);
  Json ranks = Json::array();
  for (std::size_t r = 0; r < run_.ranks.size(); ++r) {
    Json rank = rank_json(run_.ranks[r]);
    rank["compute_seconds"] = mean_of(timed.compute_seconds, r, timed);
    rank["communication_seconds"] = mean_of(timed.communication_seconds, r, timed);
    rank["wait_seconds"] = mean_of(timed.wait_seconds, r, timed);
    rank["cpu_seconds"] = mean_of(timed.cpu_seconds, r, timed);
    rank["communication_cpu_seconds"] = mean_of(timed.communication_cpu_seconds, r, timed);
    ranks.push_back(std::move(rank));
  }
  const bool predicted = run_.predicted && run_.predicted->step_seconds > 0 && typical > 0;
  Json rebalances = Json::array();
  for (const RebalanceRecord& rebalance : rebalances_) rebalances.push_back(to_json(rebalance));
  const double rate = average > 0 ? mean(static_cast<double>(timed.samples), timed) / average : 0;
  Json json{{"version", 1},
            {"finished", finished},
            {"time", utc_time_text()},
            {"model", run_.model},
            {"total", run_.total},
            {"steps", last_step_},
            {"samples", samples_},
            {"skipped_steps", skipped_steps_},
            {"seconds", seconds},
            {"step_seconds", {{"median", typical}, {"mean", average}}},
            {"samples_per_second", rate},
            {"tokens_per_second",
             run_.tokens_per_sample > 0 ? Json(rate * static_cast<double>(run_.tokens_per_sample)) : Json()},
            {"predicted", prediction_json(run_.predicted)},
            {"prediction_error", predicted ? Json(run_.predicted->step_seconds / typical - 1) : Json()},
            {"loss", last_loss_ ? number_or_null(*last_loss_) : Json()},
            {"evaluation", evaluation_ ? results_of(*evaluation_) : Json()},
            {"rebalances", rebalances},
            {"ranks", ranks}};
  json.update(plan::to_json(run_.strategy));
  return json;
}

std::vector<StepRecord> without_warm_up(const std::vector<StepRecord>& steps) {
  return {steps.begin() + static_cast<std::ptrdiff_t>(warm_up_of(steps.size())), steps.end()};
}

}  // namespace lshdp::train
