// What the steps of a run came to.
#pragma once
#include <string>
#include <vector>

#include "run_directory.h"

namespace lshdp::cli {

/// From the steps of its last launch after warm-up.
struct RunFigures {
  double mean_step = 0, median_step = 0, samples_per_second = 0;
  std::vector<double> compute, communication, wait;  // means of seconds, by rank
};
RunFigures figures_of(const RunDirectory& run);

/// The last part of its path.
std::string name_of(const RunDirectory& run);

}  // namespace lshdp::cli
