// State of an operation under a lock of its own.
#include "engine_work.h"

#include <stdexcept>
#include <utility>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {

EngineWork::EngineWork(bool deferred, std::shared_ptr<Wakeup> bell, std::shared_ptr<Meter> meter)
    : deferred_(deferred), wakeup_(std::move(bell)), meter_(std::move(meter)) {}

void EngineWork::enqueued() {
  const std::lock_guard lock(mutex_);
  if (!deferred_) begin(now_seconds());
}

void EngineWork::begin(double now) {
  began_ = now;
  meter_->operation_began(now);
  started_ = true;
}

void EngineWork::start() {
  {
    const std::lock_guard lock(mutex_);
    if (!deferred_) throw std::logic_error("Work::start() of an operation that was not deferred");
    if (started_) throw std::logic_error("Work::start() was called twice");
    // An operation that has failed before it began stays failed: wait() tells.
    if (done_) return;
    begin(now_seconds());
  }
  wakeup_->ring();
}

void EngineWork::wait() {
  std::unique_lock lock(mutex_);
  if (!done_) {
    meter_->wait_began(now_seconds());
    awaited_ = true;
    wakeup_->ring();  // the engine sleeps longer for what nobody waits for
    done_changed_.wait(lock, [this] { return done_; });
    meter_->wait_finished(now_seconds());
  }
  if (!error_.empty()) throw RunError(error_);
}

bool EngineWork::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

void EngineWork::when_done(std::function<void()> call) {
  {
    const std::lock_guard lock(mutex_);
    if (!done_) return calls_.push_back(std::move(call));
  }
  call();
}

double EngineWork::began() const {
  const std::lock_guard lock(mutex_);
  return began_;
}

double EngineWork::finished() const {
  const std::lock_guard lock(mutex_);
  return finished_;
}

void EngineWork::finish(const std::string& error) {
  std::vector<std::function<void()>> calls;
  {
    const std::lock_guard lock(mutex_);
    error_ = error;
    finished_ = now_seconds();
    if (started_) meter_->operation_finished(finished_);
    done_ = true;
    done_changed_.notify_all();
    calls.swap(calls_);
  }
  for (const auto& call : calls) call();
}

}  // namespace lshdp::comm
