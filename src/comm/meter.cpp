// Overlapping spans and byte totals.
#include "meter.h"

namespace lshdp::comm {
namespace {

double seconds_of(clockid_t clock) {
  timespec time = {};
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

void OpenTime::enter(double now) {
  if (open_++ == 0) since_ = now;
}

void OpenTime::leave(double now) {
  if (--open_ == 0) closed_ += now - since_;
}

double OpenTime::total(double now) const { return closed_ + (open_ > 0 ? now - since_ : 0); }

void Meter::operation_began(double now) {
  const std::lock_guard lock(mutex_);
  busy_.enter(now);
}

void Meter::operation_finished(double now) {
  const std::lock_guard lock(mutex_);
  busy_.leave(now);
}

void Meter::wait_began(double now) {
  const std::lock_guard lock(mutex_);
  exposed_.enter(now);
}

void Meter::wait_finished(double now) {
  const std::lock_guard lock(mutex_);
  exposed_.leave(now);
}

void Meter::sent(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  done_.bytes_sent += bytes;
}

void Meter::received(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  done_.bytes_received += bytes;
}

void Meter::thread_began(clockid_t clock) {
  const std::lock_guard lock(mutex_);
  clocks_.push_back(clock);
}

void Meter::thread_ends(clockid_t clock) {
  const std::lock_guard lock(mutex_);
  std::erase(clocks_, clock);
  done_.cpu_seconds += seconds_of(clock);
}

Counters Meter::read(double now) const {
  const std::lock_guard lock(mutex_);
  Counters counters = done_;
  counters.busy_seconds = busy_.total(now);
  counters.exposed_seconds = exposed_.total(now);
  for (const clockid_t clock : clocks_) counters.cpu_seconds += seconds_of(clock);
  return counters;
}

bool Meter::is_awaited() const {
  const std::lock_guard lock(mutex_);
  return exposed_.is_open();
}

}  // namespace lshdp::comm
