// The dynamic program over micro-batch sizes.
#include "micro_batches.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kCutMustSave = 1.1;
constexpr double kChargePerMicroBatch = 1e-9;                   // of t(1), see SplitCost
constexpr std::int64_t kLargestTable = 1 << 25;                 // entries of 96 bytes while it is built
constexpr std::int64_t kLargestLayers = std::int64_t{1} << 28;  // limit x batch, where the limit binds

double charge(const TimeCurve& curve) { return kChargePerMicroBatch * curve.corners().front().seconds; }

/// What a cut looks like: its number of micro-batches, samples of the largest and of the next largest (0: one only).
struct CutShape {
  std::int64_t count = 0, largest = 0, next = 0;

  CutShape with(std::int64_t size) const {
    if (size > largest) return {count + 1, size, largest};
    return {count + 1, largest, std::max(next, size)};
  }
};

/// The best cut of 0, 1, .. samples: its seconds, its number of micro-batches, the largest of them.
struct Costs {
  explicit Costs(std::int64_t range) : seconds(length(range), kInfinite), shapes(length(range)) { seconds[0] = 0; }
  std::int64_t range() const { return static_cast<std::int64_t>(seconds.size()) - 1; }
  double at(std::int64_t batch) const { return seconds[static_cast<std::size_t>(batch)]; }
  const CutShape& shape(std::int64_t batch) const { return shapes[static_cast<std::size_t>(batch)]; }

  /// Takes the cut of `base` of batch - size samples with one micro-batch of `size` more, which takes `more` seconds,
  /// where that is quicker. Returns whether it is.
  bool improve(std::int64_t batch, std::int64_t size, double more, const Costs& base) {
    const auto at = static_cast<std::size_t>(batch);
    const double candidate = base.at(batch - size) + more;
    if (candidate >= seconds[at]) return false;
    seconds[at] = candidate;
    shapes[at] = base.shape(batch - size).with(size);
    return true;
  }

  std::vector<double> seconds;
  std::vector<CutShape> shapes;

 private:
  static std::size_t length(std::int64_t range) { return static_cast<std::size_t>(range) + 1; }
};

/// Cuts into any number of micro-batches of corner sizes.
Costs corner_costs(const TimeCurve& curve, std::int64_t range) {
  Costs costs(range);
  for (std::int64_t batch = 1; batch <= range; ++batch) {
    for (const CurvePoint& corner : curve.corners()) {
      if (corner.batch > batch) break;
      costs.improve(batch, corner.batch, corner.seconds + charge(curve), costs);
    }
  }
  return costs;
}

/// Lets each cut have one micro-batch more of a corner size; returns false if no cut gains by it.
/// `record(batch, corner)` is told of each gain.
template <typename Record>
bool add_corner(const TimeCurve& curve, Costs& costs, Record record) {
  bool gained = false;
  for (std::int64_t batch = costs.range(); batch >= 1; --batch) {  // downwards: smaller entries are still the old ones
    for (std::size_t i = 0; i < curve.corners().size() && curve.corners()[i].batch <= batch; ++i) {
      const CurvePoint& corner = curve.corners()[i];
      if (!costs.improve(batch, corner.batch, corner.seconds + charge(curve), costs)) continue;
      record(batch, i);
      gained = true;
    }
  }
  return gained;
}

/// Cuts into at most `limit` micro-batches of corner sizes.
Costs limited_corner_costs(const TimeCurve& curve, std::int64_t limit, std::int64_t range) {
  Costs costs(range);
  const auto ignore = [](std::int64_t, std::size_t) {};
  for (std::int64_t layer = 0; layer < limit && add_corner(curve, costs, ignore); ++layer) {
  }
  return costs;
}

/// Improves `costs` by cuts of `base` and one micro-batch strictly between corners `low` and `high`.
void add_between(const TimeCurve& curve, const CurvePoint& low, const CurvePoint& high, const Costs& base,
                 Costs& costs) {
  if (high.batch - low.batch < 2) return;
  const double slope = (high.seconds - low.seconds) / static_cast<double>(high.batch - low.batch);
  // base(x) - slope * x orders the rests x of the window the same for every batch.
  const auto key = [&](std::int64_t rest) { return base.at(rest) - slope * static_cast<double>(rest); };
  std::vector<std::int64_t> window;  // from `oldest` on: rests by rising key, each later than the one before
  std::size_t oldest = 0;
  for (std::int64_t batch = low.batch + 1; batch <= costs.range(); ++batch) {
    const std::int64_t newest = batch - low.batch - 1;
    while (window.size() > oldest && key(window.back()) >= key(newest)) window.pop_back();
    window.push_back(newest);
    while (window[oldest] <= batch - high.batch) ++oldest;
    const std::int64_t rest = window[oldest];
    if (base.at(rest) == kInfinite) continue;
    costs.improve(batch, batch - rest, curve.seconds(batch - rest) + charge(curve), base);
  }
}

/// Cuts of `base` with one more micro-batch of any size allowed.
Costs with_any_size(const TimeCurve& curve, const Costs& base) {
  Costs costs = base;
  const auto ignore = [](std::int64_t, std::size_t) {};
  add_corner(curve, costs, ignore);
  for (std::size_t i = 0; i + 1 < curve.corners().size(); ++i) {
    add_between(curve, curve.corners()[i], curve.corners()[i + 1], base, costs);
  }
  return costs;
}

void require_layers_fit(std::int64_t limit, std::int64_t batch) {
  if (limit <= kLargestLayers / std::max<std::int64_t>(batch, 1)) return;
  throw UsageError(
      fmt::format("--max-accumulation {} is too large to solve for {} samples on one rank; lower it, or leave "
                  "it out for no limit",
                  limit, batch));
}

/// Of one micro-batch.
double whole_seconds(const TimeCurve& curve, std::int64_t batch) { return curve.seconds(batch) + charge(curve); }

double cut_seconds(const TimeCurve& curve, const std::vector<std::int64_t>& sizes) {
  double seconds = 0;
  for (const std::int64_t size : sizes) seconds += whole_seconds(curve, size);
  return seconds;
}

CutShape shape_of(const std::vector<std::int64_t>& sizes) {
  CutShape shape;
  for (const std::int64_t size : sizes) shape = shape.with(size);
  return shape;
}

bool exceeds(const Costs& costs, std::int64_t limit) {
  const auto by_count = [](const CutShape& a, const CutShape& b) { return a.count < b.count; };
  return limit > 0 && std::ranges::max(costs.shapes, by_count).count > limit;
}

/// When a step's transfers are done if nothing but this cut holds them up; 0 for one micro-batch.
double network_seconds(const TimeCurve& curve, const WireTime& wire, const CutShape& shape, double seconds) {
  if (shape.count < 2) return 0;
  if (wire.every_pass) return static_cast<double>(shape.count) * wire.seconds;
  return seconds - (curve.seconds(shape.next) + 2 * curve.seconds(shape.largest)) / 3 + wire.seconds;
}

/// What a cut into micro-batches takes that need not be, `seconds` by the curve.
SplitTime needless_cut(const TimeCurve& curve, const WireTime& wire, const CutShape& shape, double seconds) {
  const double at_least = kCutMustSave * seconds;
  return {at_least, network_seconds(curve, wire, shape, at_least)};
}

/// Whether one micro-batch of `batch` samples is no slower than this cut of it, with the network's part of the step.
bool keeps_whole(const TimeCurve& curve, const WireTime& wire, std::int64_t batch, const SplitTime& cut) {
  return std::max(whole_seconds(curve, batch), wire.seconds) <= std::max({cut.seconds, cut.network, wire.seconds});
}

/// Of 0, 1, .. `range` samples.
std::vector<SplitTime> split_times(const TimeCurve& curve, const WireTime& wire, std::int64_t limit,
                                   std::int64_t range) {
  Costs costs = with_any_size(curve, corner_costs(curve, range));
  if (exceeds(costs, limit)) {
    require_layers_fit(limit, range);
    costs = with_any_size(curve, limited_corner_costs(curve, limit - 1, range));
  }
  std::vector<SplitTime> times(1);
  times.reserve(costs.seconds.size());
  for (std::int64_t batch = 1; batch <= range; ++batch) {
    const CutShape& shape = costs.shape(batch);
    SplitTime time{costs.at(batch), network_seconds(curve, wire, shape, costs.at(batch))};
    if (batch <= curve.max_batch()) {
      time = needless_cut(curve, wire, shape, costs.at(batch));
      if (keeps_whole(curve, wire, batch, time)) time = {whole_seconds(curve, batch), 0};
    }
    // f is monotone; this removes what rounding of sums leaves, and the step at max_batch.
    times.push_back({std::max(time.seconds, times.back().seconds), std::max(time.network, times.back().network)});
  }
  return times;
}

/// The size of the one micro-batch of any size that completes cuts of `base` to `batch`; 0 if none is needed.
std::int64_t last_size(const TimeCurve& curve, const Costs& base, std::int64_t batch) {
  std::int64_t best_size = 0;
  double best = base.at(batch);
  for (std::int64_t size = 1; size <= std::min(batch, curve.max_batch()); ++size) {
    const double candidate = base.at(batch - size) + (curve.seconds(size) + charge(curve));
    if (candidate < best) {
      best = candidate;
      best_size = size;
    }
  }
  return best_size;
}

/// The corner sizes of an unlimited cut, found again from its costs.
void append_corner_sizes(const TimeCurve& curve, const Costs& costs, std::int64_t batch,
                         std::vector<std::int64_t>& sizes) {
  while (batch > 0) {
    for (const CurvePoint& corner : curve.corners()) {
      const std::int64_t rest = batch - corner.batch;
      // The very sum that improve() made.
      if (rest < 0 || costs.at(rest) + (corner.seconds + charge(curve)) != costs.at(batch)) continue;
      sizes.push_back(corner.batch);
      batch = rest;
      break;
    }
  }
}

std::vector<std::int64_t> unlimited_cut(const TimeCurve& curve, std::int64_t batch) {
  const Costs costs = corner_costs(curve, batch);
  std::vector<std::int64_t> sizes;
  const std::int64_t last = last_size(curve, costs, batch);
  if (last > 0) sizes.push_back(last);
  append_corner_sizes(curve, costs, batch - last, sizes);
  return sizes;
}

std::vector<std::int64_t> limited_cut(const TimeCurve& curve, std::int64_t limit, std::int64_t batch) {
  require_layers_fit(limit, batch);
  Costs costs(batch);
  std::vector<std::vector<std::int32_t>> chosen;  // by layer and batch: 1 + index of the corner it added, 0 if none
  for (std::int64_t layer = 0; layer < limit - 1; ++layer) {
    std::vector<std::int32_t> choice(static_cast<std::size_t>(batch) + 1, 0);
    const auto record = [&](std::int64_t at, std::size_t corner) {
      choice[static_cast<std::size_t>(at)] = static_cast<std::int32_t>(corner) + 1;
    };
    if (!add_corner(curve, costs, record)) break;
    chosen.push_back(std::move(choice));
  }
  std::vector<std::int64_t> sizes;
  const std::int64_t last = last_size(curve, costs, batch);
  if (last > 0) sizes.push_back(last);
  std::int64_t rest = batch - last;
  for (auto choice = chosen.rbegin(); choice != chosen.rend(); ++choice) {
    const std::int32_t corner = (*choice)[static_cast<std::size_t>(rest)];
    if (corner == 0) continue;
    sizes.push_back(curve.corners()[static_cast<std::size_t>(corner) - 1].batch);
    rest -= sizes.back();
  }
  return sizes;
}

std::vector<std::int64_t> best_cut(const TimeCurve& curve, const WireTime& wire, std::int64_t limit,
                                   std::int64_t batch) {
  if (batch == 0) return {};
  if (limit == 1) return {batch};
  std::vector<std::int64_t> sizes = unlimited_cut(curve, batch);
  if (limit > 0 && static_cast<std::int64_t>(sizes.size()) > limit) sizes = limited_cut(curve, limit, batch);
  const SplitTime needless = needless_cut(curve, wire, shape_of(sizes), cut_seconds(curve, sizes));
  if (batch <= curve.max_batch() && keeps_whole(curve, wire, batch, needless)) return {batch};
  std::sort(sizes.begin(), sizes.end(), std::greater<>());
  return sizes;
}

/// min(largest, limit x max_batch) without overflow.
std::int64_t largest_batch(const TimeCurve& curve, std::int64_t limit, std::int64_t largest) {
  if (curve.max_batch() == 0) return 0;
  if (limit == 0 || limit > largest / curve.max_batch()) return largest;
  return limit * curve.max_batch();
}

}  // namespace

SplitTime split_time(const TimeCurve& curve, const WireTime& wire, const std::vector<std::int64_t>& micro_batches) {
  if (micro_batches.empty()) return {};
  double seconds = 0;
  for (const std::int64_t size : micro_batches) seconds += curve.seconds(size);
  return {seconds, network_seconds(curve, wire, shape_of(micro_batches), seconds)};
}

SplitCost::SplitCost(TimeCurve curve, const WireTime& wire, std::int64_t limit, std::int64_t largest)
    : curve_(std::move(curve)), wire_(wire), limit_(limit), largest_(largest_batch(curve_, limit, largest)) {}

void SplitCost::grow(std::int64_t batch) {
  const auto have = static_cast<std::int64_t>(table_.size());
  if (batch < have) return;
  if (batch >= kLargestTable) {
    throw UsageError(
        fmt::format("a batch of {} samples on one rank, in micro-batches, is too large to solve; lower the total",
                    format_count(batch)));
  }
  const std::int64_t range = std::min({largest_, std::max({batch, 2 * have, std::int64_t{64}}), kLargestTable});
  table_ = split_times(curve_, wire_, limit_, range);
}

SplitTime SplitCost::time(std::int64_t batch) {
  if (batch == 0) return {};
  if (limit_ == 1) return {whole_seconds(curve_, batch), 0};
  grow(batch);
  return table_[static_cast<std::size_t>(batch)];
}

std::int64_t SplitCost::capacity(double seconds, double network_seconds) {
  if (largest_ == 0) return 0;
  const auto within = [&](const SplitTime& time) { return time.seconds <= seconds && time.network <= network_seconds; };
  if (limit_ != 1) {
    grow(1);
    while (within(table_.back()) && static_cast<std::int64_t>(table_.size()) <= largest_) {
      grow(static_cast<std::int64_t>(table_.size()));
    }
  }
  std::int64_t fits = 0;
  std::int64_t above = limit_ == 1 ? largest_ + 1 : static_cast<std::int64_t>(table_.size());
  while (above - fits > 1) {
    const std::int64_t middle = fits + (above - fits) / 2;
    (within(time(middle)) ? fits : above) = middle;
  }
  return fits;
}

const std::vector<std::int64_t>& SplitCost::micro_batches(std::int64_t batch) {
  const auto found = cuts_.find(batch);
  if (found != cuts_.end()) return found->second;
  return cuts_.emplace(batch, best_cut(curve_, wire_, limit_, batch)).first->second;
}

}  // namespace lshdp::plan
