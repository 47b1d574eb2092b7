// The thread's loop, clipping across buckets, and what others may know of it.
#include "optimizer/update_thread.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "lshdp/core/clock.h"
#include "optimizer/helper_thread.h"

namespace lshdp::parallel {

UpdateThread::UpdateThread(BucketWork& work, std::size_t buckets, comm::Communicator& communicator,
                           ComputeDevice& device, int norm_tag, Trace* trace, std::optional<LossScaler> scaler,
                           std::vector<std::size_t> absent)
    : work_(work),
      communicator_(communicator),
      device_(device),
      norm_tag_(norm_tag),
      trace_(trace),
      absent_(std::move(absent)),
      steps_(buckets),
      squared_norms_(buckets),
      scaler_(scaler) {
  thread_ = start_helper([this] { loop(); }, host_team(device_));
}

UpdateThread::~UpdateThread() {
  if (thread_.joinable()) stop(false);
}

void UpdateThread::stop(bool in_step) {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    const bool updated =
        std::ranges::all_of(steps_, [](const Steps& steps) { return steps.updated == steps.delivered; });
    if (in_step || !updated || empty_steps_ > 0) {
      communicator_.abandon();
      work_.abandon();
    }
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

void UpdateThread::deliver_empty_step(std::int64_t step, const Update& update) {
  {
    const std::scoped_lock lock(mutex_);
    ++empty_steps_;
    deliveries_.push_back({kEmptyStep, step, update, true});
  }
  changed_.notify_all();
}

void UpdateThread::wait_empty_step() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ != nullptr || empty_steps_ == 0; });
  if (error_) std::rethrow_exception(error_);
}

std::function<void()> UpdateThread::waker() const {
  return [bell = wakeup_] {
    { const std::scoped_lock lock(bell->mutex); }  // not between the thread's look and its sleep
    bell->changed.notify_all();
  };
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

UpdateThread::Done UpdateThread::done(std::int64_t step) const {
  const std::scoped_lock lock(mutex_);
  for (const Done& each : done_) {
    if (each.step == step) return each;
  }
  throw std::logic_error("the norm of a step that is not one of the last two done");
}

/// Of the step under way, until its last update begins.
double UpdateThread::backward_scale(const Update& update) const {
  const std::scoped_lock lock(mutex_);
  return scaler_ ? scale_of_summed_loss(scaler_->state().scale, update.global_terms) : 1;
}

LossScale UpdateThread::loss_scale() const {
  const std::scoped_lock lock(mutex_);
  return scaler_ ? scaler_->state() : LossScale{};
}

void UpdateThread::set_loss_scale(const LossScale& state) {
  const std::scoped_lock lock(mutex_);
  if (scaler_) scaler_->set_state(state);
}

void UpdateThread::observe_state(std::shared_ptr<StateObserver> observer) {
  const std::scoped_lock lock(mutex_);
  observer_ = std::move(observer);
}

std::shared_ptr<StateObserver> UpdateThread::observer() const {
  const std::scoped_lock lock(mutex_);
  return observer_;
}

double UpdateThread::update_seconds() const {
  const std::scoped_lock lock(mutex_);
  return update_seconds_;
}

void UpdateThread::loop() {
  const c10::NoGradGuard no_grad;
  const auto helping = device_.help();
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
  auto next = deliveries_.end();
  changed_.wait(lock, [&] {
    next = oldest_reduced();
    return next != deliveries_.end() || (stopping_ && deliveries_.empty());
  });
  if (next == deliveries_.end()) return std::nullopt;
  const Delivery delivery = *next;
  deliveries_.erase(next);
  return delivery;
}

std::deque<UpdateThread::Delivery>::iterator UpdateThread::oldest_reduced() {
  return std::ranges::find_if(deliveries_, [this](const Delivery& delivery) {
    return delivery.bucket == kEmptyStep || work_.reduced(delivery.bucket);
  });
}

void UpdateThread::handle(Delivery delivery) {
  if (delivery.bucket == kEmptyStep) return end_empty_step(delivery);
  reduce(delivery);
  if (!delivery.complete) return;
  // No step begins backward before the step before is judged: the scale is still that of this one.
  delivery.update.backward_scale = backward_scale(delivery.update);
  const bool all_reduced = note_norm(delivery);
  if (delivery.update.clip_norm == 0 && !scaler_) {
    apply(delivery.bucket, delivery, delivery.update, 1);
  } else if (all_reduced) {
    clip_and_apply(delivery);
  }
}

void UpdateThread::reduce(const Delivery& delivery) {
  work_.finish_reduce(delivery.bucket);
  const std::scoped_lock lock(mutex_);
  --steps_[delivery.bucket].unreduced;
  changed_.notify_all();
}

/// True if the norm of the step is whole now. Whoever sees the updates of all buckets sees it.
bool UpdateThread::note_norm(const Delivery& delivery) {
  const double begun = now_seconds();
  const double squared = work_.mean_squared_norm(delivery.bucket, delivery.update);
  const std::scoped_lock lock(mutex_);
  squared_norms_[delivery.bucket] = squared;
  update_seconds_ += now_seconds() - begun;
  if (++norms_known_ < steps_.size() - absent_.size()) return false;
  end_step(delivery);
  return true;
}

/// With the lock.
void UpdateThread::end_step(const Delivery& delivery) {
  norms_known_ = 0;
  // Added up in one order, whatever order they came in: the same bits in every run.
  const double sum = std::accumulate(squared_norms_.begin(), squared_norms_.end(), 0.0);
  done_ = {done_[1], {delivery.update.step, sum, scaler_ ? scaler_->state().scale : 1}};
}

void UpdateThread::end_empty_step(const Delivery& delivery) {
  {
    const std::scoped_lock lock(mutex_);
    end_step(delivery);
  }
  if (delivery.update.clip_norm > 0 || scaler_) clip_and_apply(delivery);
  const std::scoped_lock lock(mutex_);
  --empty_steps_;
  changed_.notify_all();
}

/// `update`: of the steps that were not skipped. Without a scale, parameters travel as they were.
void UpdateThread::apply(std::size_t bucket, const Delivery& delivery, const Update& update,
                         std::optional<double> scale) {
  const std::shared_ptr<StateObserver> observing = observer();
  if (observing && scale) observing->before_update(bucket, delivery.update.step);
  const double begun = now_seconds();
  if (scale) {
    work_.update(bucket, update, *scale);
  } else {
    work_.drop_gradients(bucket);
  }
  const double ended = now_seconds();
  if (trace_ != nullptr && trace_->enabled()) trace_->record(fmt::format("update {}", bucket), "update", begun, ended);
  {
    const std::scoped_lock lock(mutex_);
    update_seconds_ += ended - begun;
  }
  // Before anything by which another thread could know that the step is done.
  if (observing) observing->after_update(bucket, delivery.update.step);
  work_.send_parameters(bucket);
  const std::scoped_lock lock(mutex_);
  steps_[bucket].updated = delivery.step;
  changed_.notify_all();
}

/// The norm over all ranks decides, so all ranks decide alike.
void UpdateThread::clip_and_apply(const Delivery& delivery) {
  double squared = 0;
  {
    const std::scoped_lock lock(mutex_);
    squared = done_[1].squared_norm;
  }
  communicator_.all_reduce_sum({&squared, 1, comm::DataType::float64}, {.tag = norm_tag_, .priority = kNormPriority})
      .wait();
  Update update = delivery.update;
  std::optional<double> scale = 1;
  // As torch.nn.utils.clip_grad_norm_ computes it.
  if (delivery.update.clip_norm > 0) scale = std::min(1.0, delivery.update.clip_norm / (std::sqrt(squared) + 1e-6));
  if (scaler_) {
    const std::scoped_lock lock(mutex_);
    update.step -= scaler_->state().skipped_steps;
    if (!std::isfinite(squared)) scale.reset();
    scaler_->end_step(scale.has_value());
  }
  for (std::size_t bucket = 0; bucket < steps_.size(); ++bucket) {
    if (!is_absent(bucket)) apply(bucket, delivery, update, scale);
  }
}

}  // namespace lshdp::parallel
