// Ranks of a profile that behave alike in every figure.
#pragma once
#include <cstddef>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// By rank: the first rank with the same figures.
std::vector<std::size_t> kinds_of(const Profile& profile);

}  // namespace lshdp::plan
