// The thread that adds gradients up in host memory.
#include "lsdp/gradient_queue.h"

#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "optimizer/helper_thread.h"

namespace lshdp::parallel {

GradientQueue::GradientQueue(ComputeDevice& device, std::function<void(const BlockGradients&)> add,
                             std::function<void(std::exception_ptr)> on_error)
    : device_(device), add_(std::move(add)), on_error_(std::move(on_error)) {
  thread_ = start_helper([this] { loop(); });
}

void GradientQueue::push(BlockGradients gradients) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !pending_; });
  if (stopping_) return;
  held_ = std::move(gradients);
  pending_ = true;
  changed_.notify_all();
}

GradientQueue::~GradientQueue() {
  if (thread_.joinable()) stop();
}

void GradientQueue::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void GradientQueue::loop() {
  const c10::NoGradGuard no_grad;
  const auto helping = device_.help();
  try {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || pending_; });
      if (stopping_) return;
      lock.unlock();
      held_.computed.wait();
      add_(held_);  // push() leaves it alone while it is pending
      lock.lock();
      if (held_.block == 0) held_.gradients.clear();
      pending_ = false;
      changed_.notify_all();
    }
  } catch (...) {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    on_error_(std::current_exception());
  }
}

}  // namespace lshdp::parallel
