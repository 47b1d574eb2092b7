// Cuts between an owner and a user of a parameter.
#include "cut_rules.h"

#include <algorithm>

namespace lshdp::plan {
namespace {

void forbid_between(std::vector<bool>& cuts, std::size_t owner, std::size_t user) {
  for (std::size_t cut = owner + 1; cut <= user; ++cut) cuts[cut] = false;
}

}  // namespace

CutRules::CutRules(const LayoutNeeds& needs)
    : blocks_(needs.blocks),
      shared_(needs.shared_parameters),
      most_last_start_(needs.blocks),
      plain_(needs.blocks + 1, true),
      inner_(needs.blocks + 1, true) {
  for (const auto& [owner, user] : shared_) {
    forbid_between(plain_, owner, user);
    const bool wide = 2 * (user - owner) > blocks_;
    if (!wide) {
      forbid_between(inner_, owner, user);
      continue;
    }
    comes_back_ = true;
    least_first_end_ = std::max(least_first_end_, owner + 1);
    most_last_start_ = std::min(most_last_start_, user);
  }
}

bool CutRules::allows(const PipelineShape& shape) const {
  const auto rank_of_block = [&](std::size_t block) {
    const auto stage = std::ranges::upper_bound(shape.ends, block) - shape.ends.begin();
    return shape.ranks[static_cast<std::size_t>(stage)];
  };
  return std::ranges::all_of(shared_,
                             [&](const auto& pair) { return rank_of_block(pair.first) == rank_of_block(pair.second); });
}

}  // namespace lshdp::plan
