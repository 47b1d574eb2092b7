// Counts what a communicator does; any thread may call.
#pragma once
#include <cstdint>
#include <mutex>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// Seconds during which at least one of several overlapping spans was open.
class OpenTime {
 public:
  void enter(double now);
  void leave(double now);
  double total(double now) const;

 private:
  int open_ = 0;
  double since_ = 0, closed_ = 0;
};

/// The totals behind Communicator::counters(), but for the engine thread's CPU time.
class Meter {
 public:
  void operation_began(double now);
  void operation_finished(double now);
  void wait_began(double now);
  void wait_finished(double now);
  void sent(std::int64_t bytes);
  void received(std::int64_t bytes);
  Counters read(double now) const;

 private:
  mutable std::mutex mutex_;
  Counters bytes_;
  OpenTime busy_, exposed_;
};

}  // namespace lshdp::comm
