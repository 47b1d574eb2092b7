// Ways to put ranks into groups.
#pragma once
#include <cstddef>
#include <functional>
#include <vector>

namespace lshdp::plan {

using RankGroup = std::vector<std::size_t>;  // rising
using RankGroups = std::vector<RankGroup>;

/// All ways to put some of `ranks` into two groups or more, one of which has two ranks or more.
std::vector<RankGroups> all_groups(const std::vector<std::size_t>& ranks);

/// Some ways, for many ranks: numbers of groups in powers of two, all ranks in them, their sums of `speed` near each
/// other: ranks of all speeds in each, or ranks of like speed together.
std::vector<RankGroups> even_groups(const std::vector<std::size_t>& ranks,
                                    const std::function<double(std::size_t)>& speed);

}  // namespace lshdp::plan
