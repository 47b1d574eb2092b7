// A run as one page that a browser opens from disk: it loads nothing.
#pragma once
#include <string>

#include "run_directory.h"

namespace lshdp::cli {

/// Curves of loss and speed, the timeline of each rank (and spans of trace.json where the run has one), plan beside
/// fact, and the configuration of run.json where there is one. Throws UsageError naming a damaged file.
std::string html_report(const RunDirectory& run);

}  // namespace lshdp::cli
