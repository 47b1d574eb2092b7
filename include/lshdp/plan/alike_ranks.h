// Ranks that measuring cannot tell apart are planned as equal: they share one compute curve.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Ranks whose times differ by no more than this are alike. Ranks with equal shares of a core measured up to 3.7 %
/// apart, ranks with a tenth more of it 8 to 11 % where the machine was quiet (results/decisions.md). A split that
/// takes alike ranks for equal is slower than it could be by no more than this, less than rebalancing asks of a new
/// one.
inline constexpr double kAlike = 0.04;

struct AlikeRanks {
  std::vector<std::size_t> ranks;  // rising, two at least
  double apart = 0;                // by how much the slowest takes longer than the fastest: at most kAlike
};

struct PooledProfile {
  Profile profile;
  std::vector<AlikeRanks> alike;  // in the order of their first rank; ranks with the very same figures are not told
};

/// The profile to plan with: noise decides nothing between ranks that are alike, and their curve is smoother than each
/// one's, so that they get equal batches where the total allows. What was measured belongs into profile.json instead.
///
/// A rank's level is the median, over batch sizes, of its time for one micro-batch and its update over the shape that
/// the curves of its kind have in common. Alike are ranks of one device kind and emulated speed whose levels lie within
/// kAlike, and whose cores and shapes do not differ plainly; all of a group, not only neighbours (complete linkage, the
/// nearest first), so that no chain of small steps pools ranks that differ. max_batch may differ. They get the
/// geometric mean of their curves, each brought to the mean level before, as far as each was measured; the mean update
/// time; the geometric mean of cores.
PooledProfile pool_alike_ranks(Profile profile);

/// "Ranks 0 and 1 measured alike (1.8 % apart): planned as equal.", a line for each group.
std::vector<std::string> describe(const std::vector<AlikeRanks>& alike);

}  // namespace lshdp::plan
