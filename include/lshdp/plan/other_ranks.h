// What a step would take on other ranks than those that were profiled: on fewer of them, or on many more of their
// kinds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lshdp/plan/profile.h"
#include "lshdp/plan/solver.h"

namespace lshdp::plan {

/// The profile of a run on `ranks` of `profile` (indices; a rank may be there several times), each with its compute
/// curve and links as they were measured.
///
/// Assumed: an all-reduce is a ring, so that of a measured time over N ranks at most 2(N-1) latencies grow with N-1 and
/// the rest with (N-1)/N, and with the slowest link where links differ; a switch that all ranks can use at once;
/// updates that shrink as their shares do. Throws UsageError if the profile is of one rank, whose network was not
/// measured, and more are asked for.
Profile on_other_ranks(const Profile& profile, const std::vector<std::size_t>& ranks);

/// The network of that run alone.
NetworkProfile network_of(const Profile& profile, const std::vector<std::size_t>& ranks);

/// A predicted run on `ranks` ranks.
struct ScalePoint {
  std::int64_t ranks = 0;
  Plan plan;
};

/// The best plan on each of these numbers of ranks, those of the profile repeated in turn, with a total in proportion
/// to `total` (the whole profile's), rounded. Throws UsageError as on_other_ranks and solve do, and on a number
/// below 1.
std::vector<ScalePoint> predict_scale(const Profile& profile, std::int64_t total, std::int64_t max_accumulation,
                                      const std::vector<std::int64_t>& numbers);

}  // namespace lshdp::plan
