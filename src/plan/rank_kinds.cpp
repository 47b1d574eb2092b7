// Compares ranks figure by figure.
#include "rank_kinds.h"

#include <algorithm>

namespace lshdp::plan {
namespace {

bool same_points(const CurvePoint& a, const CurvePoint& b) { return a.batch == b.batch && a.seconds == b.seconds; }

bool same_times(const BlockTimes& a, const BlockTimes& b) {
  return a.batch == b.batch && a.forward == b.forward && a.backward == b.backward;
}

bool same_kind(const RankProfile& a, const RankProfile& b) {
  return a.device == b.device && a.cores == b.cores && a.memory_bytes == b.memory_bytes && a.max_batch == b.max_batch &&
         a.update_seconds == b.update_seconds && a.link_bytes_per_second == b.link_bytes_per_second &&
         std::ranges::equal(a.curve, b.curve, same_points) &&
         std::ranges::equal(a.block_times, b.block_times, same_times);
}

}  // namespace

std::vector<std::size_t> kinds_of(const Profile& profile) {
  std::vector<std::size_t> kinds;
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
    std::size_t like = 0;
    while (!same_kind(profile.ranks[like], profile.ranks[rank])) ++like;
    kinds.push_back(like);
  }
  return kinds;
}

}  // namespace lshdp::plan
