// Overlapping spans and byte totals.
#include "meter.h"

namespace lshdp::comm {

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
  bytes_.bytes_sent += bytes;
}

void Meter::received(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_.bytes_received += bytes;
}

Counters Meter::read(double now) const {
  const std::lock_guard lock(mutex_);
  Counters counters = bytes_;
  counters.busy_seconds = busy_.total(now);
  counters.exposed_seconds = exposed_.total(now);
  return counters;
}

}  // namespace lshdp::comm
