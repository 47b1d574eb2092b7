// A flag and a condition variable.
#include "wakeup.h"

#include <chrono>

namespace lshdp::comm {

void Wakeup::ring() {
  {
    const std::lock_guard lock(mutex_);
    rung_ = true;
  }
  rung_changed_.notify_one();
}

bool Wakeup::sleep(double seconds) {
  std::unique_lock lock(mutex_);
  rung_changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return rung_; });
  const bool was_rung = rung_;
  rung_ = false;
  return was_rung;
}

}  // namespace lshdp::comm
