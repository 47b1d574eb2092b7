// Ranks candidates.
#include "lshdp/explore/ranking.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace lshdp::explore {
namespace {

/// Sharding levels with nothing to share out among.
bool differ_in_name_only(const Candidate& one, const Candidate& other) {
  Layout layout = one.layout;
  layout.sharding = other.layout.sharding;
  return layout == other.layout && one.worst.total_with_margin() == other.worst.total_with_margin();
}

double memory_of(const Candidate& candidate) { return candidate.worst.total_with_margin(); }

}  // namespace

bool comes_before(const Candidate& one, const Candidate& other, RankBy by) {
  const double memory = memory_of(one), other_memory = memory_of(other);
  if (by == RankBy::time && one.time.seconds != other.time.seconds) return one.time.seconds < other.time.seconds;
  if (by != RankBy::memory && one.layout.devices != other.layout.devices)
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
  Front& front = fronts_[candidate.layout.devices];
  const double seconds = candidate.time.seconds;
  // Of those that take as long or less, the longest has the least memory.
  const auto longer = front.upper_bound(seconds);
  if (longer != front.begin()) {
    const Candidate& other = std::prev(longer)->second;
    const bool same = other.time.seconds == seconds && memory_of(other) == memory_of(candidate);
    if (same ? !comes_before(candidate, other, RankBy::memory) : memory_of(other) <= memory_of(candidate)) return;
  }
  auto beaten = front.lower_bound(seconds);
  while (beaten != front.end() && memory_of(beaten->second) >= memory_of(candidate)) beaten = front.erase(beaten);
  front.insert_or_assign(seconds, candidate);
}

std::vector<Candidate> ParetoFront::candidates() const {
  std::vector<Candidate> candidates;
  const auto beaten = [&](const Candidate& one) {
    return std::ranges::any_of(candidates, [&](const Candidate& other) {
      return other.layout.devices < one.layout.devices && memory_of(other) <= memory_of(one) &&
             other.time.seconds <= one.time.seconds;
    });
  };
  for (const auto& [devices, front] : fronts_) {
    for (const auto& [seconds, candidate] : front) {
      if (!beaten(candidate)) candidates.push_back(candidate);
    }
  }
  return candidates;
}

}  // namespace lshdp::explore
