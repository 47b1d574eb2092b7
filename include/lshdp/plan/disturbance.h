// What contradicts itself in a profile: signs that something else took the machine while it was measured.
#pragma once
#include <string>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Figures that should be equal and differ by more than this were disturbed. Equal ranks of a quiet machine measured up
/// to 9 % apart, single points of their curves up to 15 % (results/decisions.md).
inline constexpr double kDisturbed = 1.3;

/// A sentence each, without a full stop; empty if nothing contradicts itself. At most 8 are told. Looked at are
///
/// - a rank's first batch, timed again when the curve was done (RankProfile::repeated);
/// - CPU ranks of one host with as many threads: for the same batch they take the same time divided by the share of a
///   core that --emulate-speed leaves them, so one of 0.3 is not faster than one of 0.6. Compared with the quickest are
///   medians over the batches that both were timed with;
/// - their curves point by point, beside those medians.
std::vector<std::string> contradictions(const Profile& profile);

/// Two measurements of the same ranks: each rank's quicker curve, with the quicker value of each batch that both hold,
/// and what belongs to that curve. A disturbance makes nothing faster.
Profile quicker_of(Profile one, const Profile& other);

}  // namespace lshdp::plan
