// The picture of a running training, as lines of text.
#pragma once
#include <limits>
#include <string>
#include <vector>

#include "run_follower.h"

namespace lshdp::cli {

/// What a terminal has room for.
struct ViewSize {
  std::size_t rows = std::numeric_limits<std::size_t>::max();
  std::size_t columns = std::numeric_limits<std::size_t>::max();
};

/// `name`: of the run directory. Figures of ranks are means over the steps of `state`; loss and rate are of the last.
/// No line is longer than `size` says; ranks that do not fit are counted.
std::vector<std::string> top_view(const std::string& name, const RunState& state, const ViewSize& size);

}  // namespace lshdp::cli
