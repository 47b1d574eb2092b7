// A run directory as `lshdp train` leaves it, read back for reports.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "lshdp/train/metrics.h"

namespace lshdp::cli {

/// What metrics.jsonl of a run holds. Figures that were no numbers (written as null) are NaN.
struct RunDirectory {
  std::filesystem::path path;
  train::RunRecord run;                  // the last launch that made a step
  std::vector<train::StepRecord> steps;  // of all launches by step, rising
  std::size_t first_of_launch = 0;       // the first step of `run`: a run may be resumed on other ranks
  std::vector<train::EvaluationRecord> evaluations;
  std::vector<train::RebalanceRecord> rebalances;
};

/// Reads a run. A last line that was cut off, as an interrupted run leaves it, is passed over.
/// Throws UsageError naming the file, line and key: no metrics.jsonl, another version, no steps, a damaged line before
/// the last, figures that are not one per rank.
RunDirectory read_run_directory(const std::filesystem::path& path);

/// Tables of runs: one row a run with its figures after warm-up (of its last launch), then each run rank by rank and
/// where its split changed. Several lines, each ended.
std::string describe(const std::vector<RunDirectory>& runs);

}  // namespace lshdp::cli
