// The fastest data parallel layout over all choices of ranks.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "lshdp/plan/layout.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

struct DataLayout {
  Layout layout;  // one stage a replica
  double seconds = 0;
};

struct DataLayouts {
  std::optional<DataLayout> best;  // none: no rank holds one sample
  std::vector<double> least_with;  // by rank: the shortest step of those that were solved in which it has samples
};

/// Each choice of ranks solved by itself (solve(), on_other_ranks()): up to 8 ranks every one, beyond that those with
/// the fastest processors, those with the fastest links, and each rank alone.
DataLayouts data_layouts(const Profile& profile, std::int64_t total);

}  // namespace lshdp::plan
