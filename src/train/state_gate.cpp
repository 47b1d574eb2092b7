// The gate's two sides.
#include "state_gate.h"

#include <algorithm>

#include "lshdp/core/clock.h"

namespace lshdp::train {

void StateGate::close(const std::vector<std::size_t>& buckets) {
  const std::scoped_lock lock(mutex_);
  to_write_.assign(buckets.begin(), buckets.end());
  unwritten_ = {buckets.begin(), buckets.end()};
}

void StateGate::open() {
  {
    const std::scoped_lock lock(mutex_);
    to_write_.clear();
    unwritten_.clear();
  }
  changed_.notify_all();
}

std::optional<std::size_t> StateGate::next() {
  const std::scoped_lock lock(mutex_);
  if (to_write_.empty()) return std::nullopt;
  auto chosen = waited_for_ ? std::ranges::find(to_write_, *waited_for_) : to_write_.begin();
  if (chosen == to_write_.end()) chosen = to_write_.begin();
  const std::size_t bucket = *chosen;
  to_write_.erase(chosen);
  return bucket;
}

void StateGate::written(std::size_t bucket) {
  {
    const std::scoped_lock lock(mutex_);
    unwritten_.erase(bucket);
  }
  changed_.notify_all();
}

void StateGate::wait(std::size_t bucket) {
  std::unique_lock lock(mutex_);
  if (!unwritten_.contains(bucket)) return;
  const double begun = now_seconds();
  waited_for_ = bucket;
  changed_.wait(lock, [&] { return !unwritten_.contains(bucket); });
  waited_for_.reset();
  waited_seconds_ += now_seconds() - begun;
}

bool StateGate::waits() const {
  const std::scoped_lock lock(mutex_);
  return waited_for_.has_value();
}

double StateGate::waited_seconds() const {
  const std::scoped_lock lock(mutex_);
  return waited_seconds_;
}

}  // namespace lshdp::train
