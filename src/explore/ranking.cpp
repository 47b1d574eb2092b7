// Ranks candidates.
#include "lshdp/explore/ranking.h"

#include <algorithm>
#include <tuple>

namespace lshdp::explore {
namespace {

/// Sharding levels with nothing to share out among.
bool differ_in_name_only(const Candidate& one, const Candidate& other) {
  Layout layout = one.layout;
  layout.sharding = other.layout.sharding;
  return layout == other.layout && one.worst.total_with_margin() == other.worst.total_with_margin();
}

}  // namespace

bool comes_before(const Candidate& one, const Candidate& other, RankBy by) {
  const double memory = one.worst.total_with_margin(), other_memory = other.worst.total_with_margin();
  if (by == RankBy::devices && one.layout.devices != other.layout.devices)
    return one.layout.devices < other.layout.devices;
  if (memory != other_memory) return memory < other_memory;
  return std::tie(one.layout.devices, one.layout) < std::tie(other.layout.devices, other.layout);
}

void Top::offer(const Candidate& candidate) {
  const auto before = [this](const Candidate& one, const Candidate& other) { return comes_before(one, other, by_); };
  if (best_.size() == most_ && (most_ == 0 || !before(candidate, best_.back()))) return;
  // Those that differ in name only are neighbours in this order: the first of them stays.
  const auto place = std::upper_bound(best_.begin(), best_.end(), candidate, before);
  if (place != best_.begin() && differ_in_name_only(*std::prev(place), candidate)) return;
  if (place != best_.end() && differ_in_name_only(*place, candidate)) {
    *place = candidate;
    return;
  }
  best_.insert(place, candidate);
  if (best_.size() > most_) best_.pop_back();
}

void ParetoFront::offer(const Candidate& candidate) {
  const auto [found, is_new] = best_.try_emplace(candidate.layout.devices, candidate);
  if (!is_new && comes_before(candidate, found->second, RankBy::memory)) found->second = candidate;
}

std::vector<Candidate> ParetoFront::candidates() const {
  std::vector<Candidate> front;
  for (const auto& [devices, candidate] : best_) {
    if (front.empty() || candidate.worst.total_with_margin() < front.back().worst.total_with_margin())
      front.push_back(candidate);
  }
  return front;
}

}  // namespace lshdp::explore
