// Counts what a communicator does; any thread may call.
#pragma once
#include <cstdint>
#include <ctime>
#include <mutex>
#include <vector>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// Seconds during which at least one of several overlapping spans was open.
class OpenTime {
 public:
  void enter(double now);
  void leave(double now);
  double total(double now) const;
  bool is_open() const { return open_ > 0; }

 private:
  int open_ = 0;
  double since_ = 0, closed_ = 0;
};

/// The totals behind Communicator::counters().
class Meter {
 public:
  void operation_began(double now);
  void operation_finished(double now);
  void wait_began(double now);
  void wait_finished(double now);
  void sent(std::int64_t bytes);
  void received(std::int64_t bytes);
  /// A thread that works for the communicator, by its CPU clock, from when it runs until just before it is joined.
  void thread_began(clockid_t clock);
  void thread_ends(clockid_t clock);
  Counters read(double now) const;
  /// A thread stands in a wait.
  bool is_awaited() const;

 private:
  mutable std::mutex mutex_;
  Counters done_;  // bytes, and CPU time of threads that have ended
  OpenTime busy_, exposed_;
  std::vector<clockid_t> clocks_;  // of threads that run
};

}  // namespace lshdp::comm
