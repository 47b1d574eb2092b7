// Compares curves that ought to be alike.
#include "lshdp/plan/disturbance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include <fmt/format.h>

#include "lshdp/core/median.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

constexpr std::size_t kMaxTold = 8;

/// The largest batch at which both curves were measured.
std::int64_t common_end(const TimeCurve& a, const TimeCurve& b) { return std::min(a.measured_to(), b.measured_to()); }

/// Logarithms of how many times as long the first takes as the second, each by its share of a core, by batch: at every
/// point of either curve that lies within both.
std::map<std::int64_t, double> log_ratios(const RankProfile& a, const RankProfile& b) {
  const TimeCurve curve_a(a), curve_b(b);
  std::map<std::int64_t, double> ratios;
  for (const RankProfile* rank : {&a, &b}) {
    for (const CurvePoint& point : rank->curve) {
      if (point.batch > common_end(curve_a, curve_b)) continue;
      ratios[point.batch] =
          std::log(curve_a.seconds(point.batch) * a.speed) - std::log(curve_b.seconds(point.batch) * b.speed);
    }
  }
  return ratios;
}

double median_of(const std::map<std::int64_t, double>& ratios) {
  std::vector<double> values;
  for (const auto& [batch, ratio] : ratios) values.push_back(ratio);
  return median(std::move(values));
}

std::string name(const RankProfile& rank) {
  return rank.speed == 1 ? fmt::format("rank {} ({})", rank.rank, rank.host)
                         : fmt::format("rank {} ({}, {:g} of a core)", rank.rank, rank.host, rank.speed);
}

std::optional<std::string> drifted(const RankProfile& rank) {
  const bool slower = rank.repeated > kDisturbed;
  if (!slower && rank.repeated >= 1 / kDisturbed) return std::nullopt;
  return fmt::format("{} was {:.1f} times as {} when its first batch was timed again", name(rank),
                     slower ? rank.repeated : 1 / rank.repeated, slower ? "slow" : "fast");
}

/// Of a rank beside the quickest of its kind.
std::optional<std::string> contradiction(const RankProfile& rank, const RankProfile& quickest) {
  const auto ratios = log_ratios(rank, quickest);
  const double middle = median_of(ratios), bound = std::log(kDisturbed);
  const char* by_share = rank.speed == quickest.speed ? "" : " for its share";
  if (middle > bound)
    return fmt::format("{} took {:.2f} times as long{} as {}", name(rank), std::exp(middle), by_share, name(quickest));
  for (const auto& [batch, ratio] : ratios) {
    if (std::abs(ratio - middle) <= bound) continue;
    return fmt::format("beside {}, {} took {:.2f} times as long{} for {} samples, but {:.2f} times for others",
                       name(quickest), name(rank), std::exp(ratio), by_share, batch, std::exp(middle));
  }
  return std::nullopt;
}

using Kind = std::vector<const RankProfile*>;

/// The rank that takes least for one sample by its share.
const RankProfile& quickest_of(const Kind& kind) {
  const RankProfile* quickest = kind.front();
  for (const RankProfile* rank : kind) {
    if (median_of(log_ratios(*rank, *quickest)) < 0) quickest = rank;
  }
  return *quickest;
}

/// Seconds of all batches that both curves hold, one curve's over the other's.
double slowness(const RankProfile& a, const RankProfile& b) {
  double sum = 0;
  for (const auto& [batch, ratio] : log_ratios(a, b)) sum += ratio;
  return sum;
}

RankProfile quicker_of(const RankProfile& one, const RankProfile& other) {
  if (one.curve.empty() || other.curve.empty()) return one.curve.empty() ? other : one;
  const bool other_is_quicker = slowness(other, one) < 0;
  RankProfile quicker = other_is_quicker ? other : one;
  const RankProfile& slower = other_is_quicker ? one : other;
  for (CurvePoint& point : quicker.curve) {
    const auto same = std::ranges::find(slower.curve, point.batch, &CurvePoint::batch);
    if (same != slower.curve.end()) point.seconds = std::min(point.seconds, same->seconds);
  }
  quicker.max_batch = std::min(one.max_batch, other.max_batch);
  if (quicker.max_batch > 0)  // else it is of parts of the model
    std::erase_if(quicker.curve, [&](const CurvePoint& point) { return point.batch > quicker.max_batch; });
  return quicker;
}

}  // namespace

std::vector<std::string> contradictions(const Profile& profile) {
  std::vector<std::string> found;
  std::map<std::tuple<std::string, int>, Kind> kinds;
  for (const RankProfile& rank : profile.ranks) {
    if (rank.curve.empty()) continue;
    if (auto drift = drifted(rank)) found.push_back(std::move(*drift));
    if (rank.device == "cpu") kinds[{rank.host, rank.threads}].push_back(&rank);
  }
  for (const auto& [key, kind] : kinds) {
    const RankProfile& quickest = quickest_of(kind);
    for (const RankProfile* rank : kind) {
      if (rank == &quickest) continue;
      if (auto one = contradiction(*rank, quickest)) found.push_back(std::move(*one));
    }
  }
  if (found.size() > kMaxTold) found.resize(kMaxTold);
  return found;
}

Profile quicker_of(Profile one, const Profile& other) {
  for (std::size_t r = 0; r < one.ranks.size(); ++r) one.ranks[r] = quicker_of(one.ranks[r], other.ranks[r]);
  return one;
}

}  // namespace lshdp::plan
