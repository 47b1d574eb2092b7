// A queue of jobs and the thread that works it off.
#include "lshdp/core/work_queue.h"

#include <utility>

namespace lshdp {

WorkQueue::WorkQueue(std::function<std::shared_ptr<void>()> enter)
    : thread_([this, enter = std::move(enter)] { run(enter); }) {}

WorkQueue::~WorkQueue() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void WorkQueue::post(std::function<void()> job) {
  {
    const std::scoped_lock lock(mutex_);
    jobs_.push_back(std::move(job));
    ++given_;
  }
  changed_.notify_all();
}

void WorkQueue::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this, given = given_] { return done_ >= given; });
}

void WorkQueue::run(const std::function<std::shared_ptr<void>()>& enter) {
  const std::shared_ptr<void> entered = enter ? enter() : nullptr;
  while (true) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace lshdp
