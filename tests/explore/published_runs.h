// Published training runs: what they were, and what they took. docs/explore.md names the sources.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "lshdp/explore/settings.h"

namespace lshdp::explore::test {

struct PublishedRun {
  std::string source = {};
  bool calibration = false;  // otherwise held out: never used to find a constant
  std::string model = {}, device = {};
  Settings settings = {};
  Layout layout = {};
  double step_seconds = 0;  // 0: not published
  double memory_gib = 0;    // of the fullest device; 0: not published
  bool allocated = false;   // memory is what tensors took at most; otherwise as nvidia-smi shows it
  bool fits = true;         // false: it ran out of memory
};

/// The rule by which runs are parted, of source, model, devices, TP and PP: runs that differ in the rest only stay
/// together.
bool is_calibration(const std::string& source, const std::string& model, const Layout& layout);

/// Reads runs.csv and models.csv of `data`/published, and the presets of `configs` (configs/explore).
std::vector<PublishedRun> read_published_runs(const std::filesystem::path& data, const std::filesystem::path& configs);

/// Predicted over measured, minus 1; 0 where nothing was published.
double time_error(const PublishedRun& run, const Hardware& hardware);
double memory_error(const PublishedRun& run);

struct ErrorSummary {
  std::size_t runs = 0;
  double mean = 0, worst = 0;  // of absolute values
};
ErrorSummary summary_of(const std::vector<double>& errors);

/// Of the order of two rows of numbers (Spearman): 1 where it is the same.
double rank_correlation(const std::vector<double>& one, const std::vector<double>& other);

}  // namespace lshdp::explore::test
