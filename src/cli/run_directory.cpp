// Reading of metrics.jsonl, line by line.
#include "run_directory.h"

#include <sstream>

#include <fmt/format.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "run_records.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

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
