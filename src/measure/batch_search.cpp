// The search keeps a bracket: `fits_` does, `fails_` does not (or must not be tried).
#include "lshdp/measure/batch_search.h"

#include <algorithm>
#include <cmath>

namespace lshdp::measure {
namespace {

constexpr std::int64_t kFastestGrowth = 16;  // a straight line through two small batches may mislead
constexpr double kMargin = 1.1;              // on the growth that an estimate goes by
constexpr int kPatience = 3;                 // attempts that may fail to halve the bracket before it is bisected

class Search {
 public:
  Search(const std::function<Attempt(std::int64_t)>& attempt, const SearchLimits& limits)
      : attempt_(attempt), limits_(limits) {}

  SearchResult run() {
    while (!result_done()) {
      const std::int64_t batch = within_time(candidate());
      if (batch <= fits_ || (peaks_.size() > 1 && spent_ >= limits_.total_seconds)) return result(LimitedBy::time);
      const std::int64_t width = bound() - fits_;
      take(batch, attempt_(batch));
      halvings_missed_ = 2 * (bound() - fits_) <= width ? 0 : halvings_missed_ + 1;
    }
    return result(failed() ? LimitedBy::memory : LimitedBy::largest);
  }

 private:
  bool failed() const { return fails_ > 0; }
  /// The smallest batch that need not be tried.
  std::int64_t bound() const { return failed() ? fails_ : limits_.largest + 1; }
  bool result_done() const { return bound() - fits_ <= 1; }
  SearchResult result(LimitedBy limit) const { return {fits_, peak_, limit, attempts_, peaks_, fails_}; }

  void take(std::int64_t batch, const Attempt& outcome) {
    ++attempts_;
    spent_ += outcome.wall_seconds;
    if (!outcome.fits) {
      fails_ = batch;
      return;
    }
    const std::int64_t grows = outcome.step_bytes > 0 ? outcome.step_bytes : outcome.peak_bytes;
    slope_ = fits_ > 0 ? static_cast<double>(grows - peaks_.back().bytes) / static_cast<double>(batch - fits_) : 0;
    fits_ = batch;
    peak_ = outcome.peak_bytes;
    seconds_ = outcome.seconds;
    peaks_.push_back({batch, grows});
  }

  /// The batch to try next, between fits_ and bound().
  std::int64_t candidate() const {
    if (fits_ == 0 && !failed()) return 1;
    const std::int64_t middle = failed() ? (fits_ + fails_) / 2 : std::min(2 * fits_, limits_.largest);
    if (slope_ <= 0 || (failed() && halvings_missed_ >= kPatience)) return std::max(middle, fits_ + 1);
    const double more = static_cast<double>(limits_.budget_bytes - peaks_.back().bytes) / slope_;
    const double most = static_cast<double>(std::min(bound() - 1, kFastestGrowth * fits_));
    const double predicted =
        std::clamp(static_cast<double>(fits_) + std::floor(more), static_cast<double>(fits_ + 1), most);
    return static_cast<std::int64_t>(predicted);
  }

  /// `batch`, or what can be tried within the time instead; fits_ if that is hardly more than what fits. Time grows at
  /// most in proportion. Below a batch that failed everything is affordable: that one was. A second batch always is,
  /// for a line needs two.
  std::int64_t within_time(std::int64_t batch) const {
    if (failed() || fits_ == 0 || seconds_ <= 0) return batch;
    const double affordable = std::floor(static_cast<double>(fits_) * limits_.max_seconds / seconds_);
    if (static_cast<double>(batch) <= affordable) return batch;
    if (peaks_.size() == 1) return std::min(batch, fits_ + 1);
    return affordable < 1.5 * static_cast<double>(fits_) ? fits_ : static_cast<std::int64_t>(affordable);
  }

  const std::function<Attempt(std::int64_t)>& attempt_;
  SearchLimits limits_;
  std::int64_t fits_ = 0, fails_ = 0;  // 0: none yet
  std::int64_t peak_ = 0;              // at fits_
  double slope_ = 0;                   // bytes per sample between the last two that fitted
  double seconds_ = 0;                 // of the attempt at fits_
  double spent_ = 0;                   // in all attempts
  std::vector<Peak> peaks_;
  int attempts_ = 0, halvings_missed_ = 0;
};

}  // namespace

const char* to_text(LimitedBy limit) {
  switch (limit) {
    case LimitedBy::memory:
      return "memory";
    case LimitedBy::largest:
      return "largest";
    case LimitedBy::time:
      return "time";
  }
  return "";
}

SearchResult search_largest_batch(const std::function<Attempt(std::int64_t)>& attempt, const SearchLimits& limits) {
  return Search(attempt, limits).run();
}

Peak estimate_largest(const SearchResult& found, const SearchLimits& limits) {
  if (found.peaks.empty()) return {};
  const Peak last = found.peaks.back();
  double slope = 0;
  for (std::size_t i = 1; i < found.peaks.size(); ++i) {
    const Peak &low = found.peaks[i - 1], &high = found.peaks[i];
    slope = std::max(slope, static_cast<double>(high.bytes - low.bytes) / static_cast<double>(high.batch - low.batch));
  }
  slope *= kMargin;
  if (slope <= 0) return last;
  const double more = std::floor(static_cast<double>(limits.budget_bytes - last.bytes) / slope);
  std::int64_t most = std::min(limits.largest, kFastestGrowth * last.batch);
  if (found.fails > 0) most = std::min(most, found.fails - 1);
  const double batch = std::clamp(static_cast<double>(last.batch) + more, static_cast<double>(last.batch),
                                  static_cast<double>(std::max(most, last.batch)));
  const auto largest = static_cast<std::int64_t>(batch);
  return {largest, last.bytes + static_cast<std::int64_t>(slope * static_cast<double>(largest - last.batch))};
}

}  // namespace lshdp::measure
