// Shards of unequal size where links are unequal: a slow link carries less.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Of each rank's own link, bytes a second; 0 where it was not measured.
std::vector<double> link_rates(const Profile& profile);

/// Rates relative to the fastest, those within a factor of two of each other made alike (their mean): a link driven by
/// a slow or busy core measures well below what it carries, and classes of Ethernet lie further apart. Empty where a
/// rate is 0 (not measured) or all are alike.
std::vector<double> relative_links(std::span<const double> bytes_per_second);

/// Shares (sum 1) of a vector that its ranks own, for which a step's transfers take least time over full-duplex links
/// of rates w_r > 0. One or two ranks: equal.
///
/// In the reduce-scatter of V bytes over N ranks, rank r sends the others' shares, V (1 - s_r), and receives its own
/// from each, V (N-1) s_r; the all-gather mirrors that. Both are under way at the same time (of different buckets), so
/// each direction of the link carries V (1 + (N-2) s_r) in a step: V at least, 2(N-1)/N V with equal shares. All links
/// are done at time T if s_r <= (T w_r / V - 1) / (N-2); the least T > 0 for which these bounds, none below 0, add up
/// to 1 fills the links like vessels with water: over the k fastest links
///
///   T/V = (N - 2 + k) / (w_1 + .. + w_k),     s_r = max(0, (T w_r / V - 1) / (N-2)),
///
/// k being the largest for which T w_k / V > 1. Links below that own nothing and send the vector once, so the step
/// takes max(T, V / min w); where that is more than T, what the others own does not matter, and this gives them equal
/// times.
std::vector<double> link_shares(std::span<const double> rates);

/// The longest of the links' times with these shares, V = 1: max over r of (1 + (N-2) s_r) / w_r.
double link_seconds(std::span<const double> rates, std::span<const double> shares);

/// As integers: 1000 for an equal share. Empty for empty shares.
ShardWeights weights_of(std::span<const double> shares);

/// The weights of the shards that the links of `profile` ask for; empty: equal shards, where links are alike or not
/// measured, and in other modes than ddp.
ShardWeights shard_weights(const Profile& profile);

/// What shards of these weights do to times that were measured with equal ones: all 1 where shards are equal. Links
/// whose rates were not measured are taken to be alike.
struct ShardEffect {
  double wire = 1;
  /// Nothing hides the first block's way down and back, and it does not go both ways at once: 2 x max over r of
  /// max(1 - s_r, (N-1) s_r) / w_r instead of 2(N-1)/N / min w.
  double boundary = 1;
  std::vector<double> traffic;  // by rank: bytes sent and received
  std::vector<double> update;   // by rank: elements owned
};
ShardEffect shard_effect(const Profile& profile, const ShardWeights& weights);

}  // namespace lshdp::plan
