// Finds the largest batch that fits by trying: doubling, then bisection, both led by how the peak has grown so far.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace lshdp::measure {

/// What came of trying one batch.
struct Attempt {
  bool fits = false;
  std::int64_t peak_bytes = 0;  // if it fits
  std::int64_t step_bytes = 0;  // of it, the peak of what grows with the batch: leads the search and estimates
  double seconds = 0;           // of the step, if it fits
  double wall_seconds = 0;      // of the whole attempt
};

struct SearchLimits {
  std::int64_t budget_bytes = 0;  // where attempts stop to fit: leads the search, decides nothing
  std::int64_t largest = 1;       // no larger batch is tried
  double max_seconds = 60;        // no attempt is begun that is expected to take longer, once two batches fit
  double total_seconds = 1e9;     // no attempt is begun later, once two batches fit
};

/// Why the search ended.
enum class LimitedBy : std::uint8_t { memory, largest, time };
const char* to_text(LimitedBy limit);

/// The peak of one batch that fits, of what grows with it.
struct Peak {
  std::int64_t batch = 0;
  std::int64_t bytes = 0;
};

struct SearchResult {
  std::int64_t largest = 0;                  // largest batch that was tried and fits, 0 if 1 does not
  std::int64_t peak_bytes = 0;               // at `largest`
  LimitedBy limited_by = LimitedBy::memory;  // memory: largest + 1 was tried and did not fit
  int attempts = 0;
  std::vector<Peak> peaks = {};  // of all that fit, by batch, rising
  std::int64_t fails = 0;        // the smallest batch that did not fit, 0 if all did
};

/// `attempt(b)` must be monotone: if b fits, so does every smaller batch.
SearchResult search_largest_batch(const std::function<Attempt(std::int64_t)>& attempt, const SearchLimits& limits);

/// What should fit where time ended the search: on from the last peak with the steepest slope between two peaks and a
/// tenth more, below what failed, no larger than `limits.largest` and 16 times what was tried. The batch that was tried
/// where peaks do not grow.
Peak estimate_largest(const SearchResult& found, const SearchLimits& limits);

}  // namespace lshdp::measure
