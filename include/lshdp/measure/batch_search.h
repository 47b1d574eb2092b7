// Finds the largest batch that fits by trying: doubling, then bisection, both led by how the peak has grown so far.
#pragma once
#include <cstdint>
#include <functional>

namespace lshdp::measure {

/// What came of trying one batch.
struct Attempt {
  bool fits = false;
  std::int64_t peak_bytes = 0;  // if it fits
  double seconds = 0;
};

struct SearchLimits {
  std::int64_t budget_bytes = 0;  // where attempts stop to fit: leads the search, decides nothing
  std::int64_t largest = 1;       // no larger batch is tried
  double longest_seconds = 60;    // no attempt is begun that is expected to take longer
};

/// Why the search ended.
enum class LimitedBy : std::uint8_t { memory, largest, time };
const char* to_text(LimitedBy limit);

struct SearchResult {
  std::int64_t largest = 0;                  // largest batch that was tried and fits, 0 if 1 does not
  std::int64_t peak_bytes = 0;               // at `largest`
  LimitedBy limited_by = LimitedBy::memory;  // memory: largest + 1 was tried and did not fit
  int attempts = 0;
};

/// `attempt(b)` must be monotone: if b fits, so does every smaller batch.
SearchResult search_largest_batch(const std::function<Attempt(std::int64_t)>& attempt, const SearchLimits& limits);

}  // namespace lshdp::measure
