// Wakes a sleeping thread; a ring while it is awake is not lost.
#pragma once
#include <condition_variable>
#include <mutex>

namespace lshdp::comm {

class Wakeup {
 public:
  void ring();
  /// Sleeps until rung, at most `seconds`; true if it was rung since the last call.
  bool sleep(double seconds);

 private:
  std::mutex mutex_;
  std::condition_variable rung_changed_;
  bool rung_ = false;
};

}  // namespace lshdp::comm
