// Reads the collection of published runs.
#include "published_runs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/core/file.h"
#include "lshdp/core/mix.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/memory.h"
#include "lshdp/explore/step_time.h"

namespace lshdp::explore::test {
namespace {

namespace fs = std::filesystem;
using Row = std::map<std::string, std::string>;

constexpr double kGiB = 1024.0 * 1024 * 1024;

/// The preset of the framework that a source says it trained with.
std::string framework_of(const std::string& source) {
  const bool deepspeed = source == "bigscience-tr11" || source == "colossalai-lightning" || source == "zero-offload";
  return deepspeed ? "deepspeed" : source == "colossalai-gemini" ? "colossalai" : "pytorch";
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream stream(line + ',');
  for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
  return cells;
}

std::vector<Row> read_csv(const fs::path& path) {
  std::istringstream lines(read_file(path));
  std::string line;
  std::getline(lines, line);
  const std::vector<std::string> header = cells_of(line);
  std::vector<Row> rows;
  while (std::getline(lines, line)) {
    const std::vector<std::string> cells = cells_of(line);
    if (cells.size() != header.size()) throw std::runtime_error(path.string() + ": " + line);
    Row row;
    for (std::size_t i = 0; i < cells.size(); ++i) row[header[i]] = cells[i];
    rows.push_back(row);
  }
  return rows;
}

std::int64_t integer(const Row& row, const std::string& key) { return std::stoll(row.at(key)); }
double real(const Row& row, const std::string& key) { return row.at(key).empty() ? 0 : std::stod(row.at(key)); }

Settings settings_of(const Row& run, const Row& model, const fs::path& configs) {
  Json tree = {{"model", Json::object()}, {"trainer", Json::object()}};
  for (const char* key :
       {"num_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "ffn_hidden_size", "vocab_size"})
    tree["model"][key] = integer(model, key);
  tree["model"]["activation"] = model.at("activation");
  tree["model"]["share_embeddings_and_output_weights"] = model.at("activation") == "gelu";
  for (const char* key : {"hidden_dropout", "attention_dropout"}) tree["model"][key] = real(model, key);
  for (const char* key : {"seq_length", "global_batch_size"}) tree["model"][key] = integer(run, key);
  tree["trainer"]["grad_dtype"] = run.at("grad_dtype");
  tree["trainer"]["separate_accumulators"] = run.at("separate_accumulators") == "1";
  tree["trainer"]["flash_attention"] = run.at("flash_attention") == "1";
  tree["trainer"]["loss_in_float32"] = run.at("loss_in_float32") == "1";
  const std::pair<std::string, std::string> presets[] = {
      {"device", run.at("device")}, {"cluster", run.at("cluster")}, {"framework", framework_of(run.at("source"))}};
  for (const auto& [group, name] : presets) {
    const fs::path file = configs / group / (name + ".yaml");
    tree[group] = parse_yaml(read_file(file), file.string());
  }
  return read_settings(tree, run.at("source") + ' ' + run.at("model"));
}

template <typename Values>
auto value_named(const Values& values, const std::string& name) {
  for (const auto value : values) {
    if (name_of(value) == name) return value;
  }
  throw std::runtime_error("published runs: " + name);
}

Layout layout_of(const Row& run) {
  Layout layout;
  layout.tensor = integer(run, "TP");
  layout.pipeline = integer(run, "PP");
  layout.interleaving = integer(run, "interleaving");
  layout.devices = integer(run, "devices");
  layout.micro_batch = integer(run, "micro_batch_size");
  layout.sequence_parallel = run.at("sequence_parallel") == "1";
  layout.recompute = value_named(kRecomputes, run.at("recompute"));
  layout.sharding = value_named(kShardings, run.at("sharding"));
  layout.layer_split = value_named(kLayerSplits, run.at("layer_split"));
  layout.offload = value_named(kOffloads, run.at("offload"));
  return layout;
}

std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<double> ranks;
  for (const double value : values) {
    const auto less = std::ranges::count_if(values, [&](double other) { return other < value; });
    const auto equal = std::ranges::count(values, value);
    ranks.push_back(static_cast<double>(less) + static_cast<double>(equal - 1) / 2);
  }
  return ranks;
}

}  // namespace

bool is_calibration(const std::string& source, const std::string& model, const Layout& layout) {
  const std::string key = fmt::format("{}/{}/{}/{}/{}", source, model, layout.devices, layout.tensor, layout.pipeline);
  return hash_of(key) >> 63 == 0;
}

std::vector<PublishedRun> read_published_runs(const fs::path& data, const fs::path& configs) {
  std::map<std::string, Row> models;
  for (const Row& model : read_csv(data / "published/models.csv")) models[model.at("model")] = model;
  std::vector<PublishedRun> runs;
  for (const Row& row : read_csv(data / "published/runs.csv")) {
    PublishedRun run{.source = row.at("source"),
                     .calibration = row.at("part") == "calibration",
                     .model = row.at("model"),
                     .device = row.at("device"),
                     .settings = settings_of(row, models.at(row.at("model")), configs),
                     .layout = layout_of(row),
                     .step_seconds = real(row, "step_seconds"),
                     .memory_gib = real(row, "memory_gib"),
                     .allocated = row.at("memory_as") == "allocated",
                     .fits = row.at("fits") == "1"};
    if (const double rate = real(row, "tokens_per_second_per_device"); rate > 0)
      run.step_seconds = tokens_per_step(run.settings.model) / (rate * static_cast<double>(run.layout.devices));
    runs.push_back(run);
  }
  return runs;
}

double time_error(const PublishedRun& run, const Hardware& hardware) {
  if (run.step_seconds == 0) return 0;
  return step_time(run.settings.model, run.settings.trainer, hardware, run.layout).seconds / run.step_seconds - 1;
}

double memory_error(const PublishedRun& run) {
  if (run.memory_gib == 0) return 0;
  const Memory memory = estimate(run.settings.model, run.settings.trainer, run.layout);
  const StageMemory& worst = memory.worst_stage();
  const double bytes = run.allocated ? worst.total() - worst.context : worst.total_with_margin();
  return bytes / kGiB / run.memory_gib - 1;
}

ErrorSummary summary_of(const std::vector<double>& errors) {
  ErrorSummary summary{.runs = errors.size()};
  for (const double error : errors) {
    summary.mean += std::abs(error) / static_cast<double>(errors.size());
    summary.worst = std::max(summary.worst, std::abs(error));
  }
  return summary;
}

double rank_correlation(const std::vector<double>& one, const std::vector<double>& other) {
  const std::vector<double> first = ranks_of(one), second = ranks_of(other);
  const double mean = static_cast<double>(one.size() - 1) / 2;
  double product = 0, squares = 0, other_squares = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    product += (first[i] - mean) * (second[i] - mean);
    squares += (first[i] - mean) * (first[i] - mean);
    other_squares += (second[i] - mean) * (second[i] - mean);
  }
  return product / std::sqrt(squares * other_squares);
}

}  // namespace lshdp::explore::test
