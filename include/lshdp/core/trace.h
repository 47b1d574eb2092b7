// Trace: what a rank did when, as Chrome trace events (opens in Perfetto or chrome://tracing).
#pragma once
#include <atomic>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lshdp/core/clock.h"

namespace lshdp {

/// Records spans of one rank. Off until enable(); while off, recording costs one load. Any thread may record.
class Trace {
 public:
  void enable() { enabled_.store(true, std::memory_order_relaxed); }
  bool enabled() const { return enabled_.load(std::memory_order_relaxed); }
  /// Something called `name` ran on `lane` ("compute", "communication", "wait") from `begin` to `end`, in
  /// now_seconds().
  void record(std::string_view name, std::string_view lane, double begin, double end);
  /// The spans as an array of Chrome trace events: one process `rank`, shown as `process_name`, one thread per lane in
  /// order of first use. Times are microseconds of this host's now_seconds().
  nlohmann::json to_events(int rank, const std::string& process_name) const;

 private:
  struct Entry {
    std::string name, lane;
    double begin, end;
  };
  std::atomic<bool> enabled_{false};
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
};

/// The events of several ranks in one array on one time axis that begins with 0 at the earliest span. `offsets[i]`
/// seconds are added to the times of `events[i]`: what the clock of rank 0 shows when that of i shows 0.
nlohmann::json merge_trace_events(std::span<const nlohmann::json> events, std::span<const double> offsets);

/// Records from its construction to its destruction. `name` and `lane` must live as long.
class Span {
 public:
  Span(Trace& trace, std::string_view name, std::string_view lane)
      : trace_(trace), name_(name), lane_(lane), begin_(trace.enabled() ? now_seconds() : 0) {}
  ~Span() {
    if (begin_ != 0) trace_.record(name_, lane_, begin_, now_seconds());
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  Trace& trace_;
  std::string_view name_, lane_;
  double begin_;  // 0: the trace was off
};

}  // namespace lshdp
