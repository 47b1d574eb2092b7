// The thread's loop, clipping across buckets, and what others may know of it.
#include "update_thread.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "helper_thread.h"
#include "lshdp/core/clock.h"

namespace lshdp::parallel {

UpdateThread::UpdateThread(BucketWork& work, std::size_t buckets, comm::Communicator& communicator, int norm_tag,
                           Trace* trace)
    : work_(work), communicator_(communicator), norm_tag_(norm_tag), trace_(trace), steps_(buckets) {
  thread_ = start_helper([this] { loop(); });
}

UpdateThread::~UpdateThread() {
  if (thread_.joinable()) stop(false);
}

void UpdateThread::stop(bool in_step) {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    // (Not: a delivery is still in the list. The thread takes it off after it has told that the step is updated.)
    const bool updated =
        std::ranges::all_of(steps_, [](const Steps& steps) { return steps.updated == steps.delivered; });
    if (in_step || !updated) communicator_.abandon();
  }
  changed_.notify_all();
  thread_.join();
}

void UpdateThread::deliver(std::size_t bucket, std::int64_t step, const Update& update, bool complete) {
  {
    const std::scoped_lock lock(mutex_);
    if (complete) steps_[bucket].delivered = step;
    ++steps_[bucket].unreduced;
    deliveries_.push_back({bucket, step, update, complete});
  }
  changed_.notify_all();
}

void UpdateThread::wait_reduced(std::size_t bucket) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ != nullptr || steps_[bucket].unreduced == 0; });
  if (error_) std::rethrow_exception(error_);
}

void UpdateThread::wait_updated(std::size_t bucket) {
  std::unique_lock lock(mutex_);
  const Steps& steps = steps_[bucket];
  changed_.wait(lock, [&] { return error_ != nullptr || steps.updated == steps.delivered; });
  if (error_) std::rethrow_exception(error_);
}

void UpdateThread::rethrow_error() {
  const std::scoped_lock lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

double UpdateThread::local_squared_norm(std::int64_t step) const {
  const std::scoped_lock lock(mutex_);
  for (const auto& [done, norm] : done_norms_) {
    if (done == step) return norm;
  }
  throw std::logic_error("the norm of a step that is not one of the last two done");
}

double UpdateThread::update_seconds() const {
  const std::scoped_lock lock(mutex_);
  return update_seconds_;
}

void UpdateThread::loop() {
  const c10::NoGradGuard no_grad;
  try {
    while (const auto delivery = next_delivery()) handle(*delivery);
  } catch (...) {
    {
      const std::scoped_lock lock(mutex_);
      error_ = std::current_exception();
    }
    changed_.notify_all();
    work_.thread_failed(std::current_exception());
  }
}

std::optional<UpdateThread::Delivery> UpdateThread::next_delivery() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || !deliveries_.empty(); });
  if (deliveries_.empty()) return std::nullopt;
  return deliveries_.front();
}

void UpdateThread::handle(const Delivery& delivery) {
  reduce(delivery);
  if (delivery.complete) {
    add_norm(delivery);
    if (delivery.update.clip_norm == 0) {
      apply(delivery.bucket, delivery, 1);
    } else if (delivery.bucket == 0) {
      clip_and_apply(delivery);
    }
  }
  const std::scoped_lock lock(mutex_);
  deliveries_.pop_front();
}

void UpdateThread::reduce(const Delivery& delivery) {
  work_.finish_reduce(delivery.bucket);
  const std::scoped_lock lock(mutex_);
  --steps_[delivery.bucket].unreduced;
  changed_.notify_all();
}

void UpdateThread::add_norm(const Delivery& delivery) {
  const double begun = now_seconds();
  const double squared = work_.make_mean(delivery.bucket, delivery.update);
  const std::scoped_lock lock(mutex_);
  squared_norm_ += squared;
  update_seconds_ += now_seconds() - begun;
  // The first bucket's gradients come last. Whoever sees its update sees the norm.
  if (delivery.bucket == 0) done_norms_ = {done_norms_[1], {delivery.update.step, std::exchange(squared_norm_, 0)}};
}

void UpdateThread::apply(std::size_t bucket, const Delivery& delivery, double scale) {
  const double begun = now_seconds();
  work_.update(bucket, delivery.update, scale);
  const double ended = now_seconds();
  if (trace_ != nullptr && trace_->enabled()) trace_->record(fmt::format("update {}", bucket), "update", begun, ended);
  {
    const std::scoped_lock lock(mutex_);
    update_seconds_ += ended - begun;
  }
  work_.send_parameters(bucket);
  const std::scoped_lock lock(mutex_);
  steps_[bucket].updated = delivery.step;
  changed_.notify_all();
}

void UpdateThread::clip_and_apply(const Delivery& delivery) {
  double squared = 0;
  {
    const std::scoped_lock lock(mutex_);
    squared = done_norms_[1].second;
  }
  communicator_.all_reduce_sum({&squared, 1, comm::DataType::float64}, {.tag = norm_tag_, .priority = kNormPriority})
      .wait();
  const double norm = std::sqrt(squared);
  // As torch.nn.utils.clip_grad_norm_ computes it.
  const double scale = std::min(1.0, delivery.update.clip_norm / (norm + 1e-6));
  for (std::size_t bucket = 0; bucket < steps_.size(); ++bucket) apply(bucket, delivery, scale);
}

}  // namespace lshdp::parallel
