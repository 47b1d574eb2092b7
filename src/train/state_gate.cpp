// The gate's two sides.
#include "state_gate.h"

#include <algorithm>

#include "lshdp/core/clock.h"

namespace lshdp::train {

void StateGate::close(const std::vector<std::size_t>& buckets, std::int64_t step) {
  const std::scoped_lock lock(mutex_);
  step_ = step;
  to_write_ = buckets;
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

/// With the lock. The end: none.
std::vector<std::size_t>::iterator StateGate::next_ready() {
  // An update of the bucket that waits is one of a later step: the save's own is done.
  if (waited_for_) {
    if (const auto waited = std::ranges::find(to_write_, *waited_for_); waited != to_write_.end()) return waited;
  }
  return std::ranges::find_if(to_write_, [this](std::size_t bucket) {
    const auto found = steps_.find(bucket);
    return (found == steps_.end() ? first_step_ : found->second) >= step_;
  });
}

std::optional<std::size_t> StateGate::next() {
  std::unique_lock lock(mutex_);
  auto chosen = to_write_.end();
  changed_.wait(lock, [&] {
    chosen = next_ready();
    return chosen != to_write_.end() || to_write_.empty();
  });
  if (to_write_.empty()) return std::nullopt;
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

void StateGate::before_update(std::size_t bucket, std::int64_t step) {
  std::unique_lock lock(mutex_);
  if (!is_held(bucket, step)) return;
  const double begun = now_seconds();
  waited_for_ = bucket;
  changed_.notify_all();
  changed_.wait(lock, [&] { return !is_held(bucket, step); });
  waited_for_.reset();
  waited_seconds_ += now_seconds() - begun;
}

void StateGate::after_update(std::size_t bucket, std::int64_t step) {
  {
    const std::scoped_lock lock(mutex_);
    steps_[bucket] = step;
  }
  changed_.notify_all();
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
