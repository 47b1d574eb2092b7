// The search keeps a bracket: `fits_` does, `fails_` does not (or must not be tried).
#include "lshdp/measure/batch_search.h"

#include <algorithm>
#include <cmath>

namespace lshdp::measure {
namespace {

constexpr std::int64_t kFastestGrowth = 16;  // a straight line through two small batches may mislead
constexpr int kPatience = 3;                 // attempts that may fail to halve the bracket before it is bisected

class Search {
 public:
  Search(const std::function<Attempt(std::int64_t)>& attempt, const SearchLimits& limits)
      : attempt_(attempt), limits_(limits) {}

  SearchResult run() {
    while (!result_done()) {
      const std::int64_t batch = within_time(candidate());
      if (batch <= fits_) return result(LimitedBy::time);
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
  SearchResult result(LimitedBy limit) const { return {fits_, peak_, limit, attempts_}; }

  void take(std::int64_t batch, const Attempt& outcome) {
    ++attempts_;
    if (!outcome.fits) {
      fails_ = batch;
      return;
    }
    slope_ = fits_ > 0 ? static_cast<double>(outcome.peak_bytes - peak_) / static_cast<double>(batch - fits_) : 0;
    fits_ = batch;
    peak_ = outcome.peak_bytes;
    seconds_ = outcome.seconds;
  }

  /// The batch to try next, between fits_ and bound().
  std::int64_t candidate() const {
    if (fits_ == 0 && !failed()) return 1;
    const std::int64_t middle = failed() ? (fits_ + fails_) / 2 : std::min(2 * fits_, limits_.largest);
    if (slope_ <= 0 || (failed() && halvings_missed_ >= kPatience)) return std::max(middle, fits_ + 1);
    const double more = static_cast<double>(limits_.budget_bytes - peak_) / slope_;
    const double most = static_cast<double>(std::min(bound() - 1, kFastestGrowth * fits_));
    const double predicted =
        std::clamp(static_cast<double>(fits_) + std::floor(more), static_cast<double>(fits_ + 1), most);
    return static_cast<std::int64_t>(predicted);
  }

  /// `batch`, or what can be tried within the time instead; fits_ if that is hardly more than what fits. Time grows at
  /// most in proportion. Below a batch that failed everything is affordable: that one was.
  std::int64_t within_time(std::int64_t batch) const {
    if (failed() || fits_ == 0 || seconds_ <= 0) return batch;
    const double affordable = std::floor(static_cast<double>(fits_) * limits_.longest_seconds / seconds_);
    if (static_cast<double>(batch) <= affordable) return batch;
    return affordable < 1.5 * static_cast<double>(fits_) ? fits_ : static_cast<std::int64_t>(affordable);
  }

  const std::function<Attempt(std::int64_t)>& attempt_;
  SearchLimits limits_;
  std::int64_t fits_ = 0, fails_ = 0;  // 0: none yet
  std::int64_t peak_ = 0;              // at fits_
  double slope_ = 0;                   // bytes per sample between the last two that fitted
  double seconds_ = 0;                 // of the attempt at fits_
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

}  // namespace lshdp::measure
