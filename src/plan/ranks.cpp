// Finds ranks that are alike and gives them one table.
#include "ranks.h"

#include <algorithm>
#include <map>
#include <utility>

namespace lshdp::plan {
namespace {

/// Equal for curves with the same corners.
std::vector<double> key(const TimeCurve& curve) {
  std::vector<double> values;
  for (const CurvePoint& corner : curve.corners()) {
    values.push_back(static_cast<double>(corner.batch));
    values.push_back(corner.seconds);
  }
  return values;
}

}  // namespace

Ranks::Ranks(const Profile& profile, const ShardWeights& shards, std::int64_t limit, std::int64_t largest)
    : model_(profile, shards) {
  std::map<std::vector<double>, std::size_t> known_curves;
  std::map<std::pair<std::size_t, double>, std::size_t> known_classes;
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
    TimeCurve curve(profile.ranks[rank]);
    const auto [cost, new_curve] = known_curves.emplace(key(curve), costs_.size());
    if (new_curve) costs_.emplace_back(std::move(curve), model_.wire(), limit, largest);
    cost_of_rank_.push_back(cost->second);
    const auto [alike, new_class] = known_classes.emplace(std::pair(cost->second, fixed(rank)), classes_.size());
    if (new_class) classes_.push_back({rank, 0});
    ++classes_[alike->second].ranks;
  }
}

double Ranks::largest_fixed() const {
  return *std::max_element(model_.fixed_seconds.begin(), model_.fixed_seconds.end());
}

std::int64_t Ranks::largest_total() {
  std::int64_t total = 0;
  for (const Class& alike : classes_) total += alike.ranks * cost(alike.first_rank).largest();
  return total;
}

}  // namespace lshdp::plan
