// The average follows the store's updates as one of its observers.
#include "weight_average.h"

#include <mutex>
#include <set>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "lshdp/core/memory.h"

namespace lshdp::train {

namespace {

constexpr const char* kPrefix = "average/";

}  // namespace

using parallel::StateObserver;
using parallel::StatePiece;

/// What the store calls; it may outlive the average.
class WeightAverage::Follower final : public StateObserver {
 public:
  Follower(std::vector<StatePiece> pieces, double decay) : pieces_(std::move(pieces)), decay_(decay) {
    const HostMemoryScope host;
    for (const StatePiece& piece : pieces_) averages_.push_back(piece.value.clone());
  }

  /// The weights, then their averages.
  std::vector<StatePiece> pieces() const {
    std::vector<StatePiece> all = pieces_;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      all.push_back(pieces_[i]);
      all.back().name = name_of_average(pieces_[i].name);
      all.back().value = averages_[i];
      all.back().first_moment = all.back().second_moment = at::Tensor();
    }
    return all;
  }

  void restart() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) averages_[i].copy_(pieces_[i].value);
  }

  void exchange() {
    const c10::NoGradGuard no_grad;
    const HostMemoryScope host;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const at::Tensor value = pieces_[i].value.clone();
      pieces_[i].value.copy_(averages_[i]);
      averages_[i].copy_(value);
    }
  }

  void set_next(std::shared_ptr<StateObserver> next) {
    const std::scoped_lock lock(mutex_);
    next_ = std::move(next);
  }

  void before_update(std::size_t bucket, std::int64_t step) override {
    if (const auto next = this->next()) next->before_update(bucket, step);
    const std::scoped_lock lock(mutex_);
    changing_.insert(bucket);
  }

  void after_update(std::size_t bucket, std::int64_t step) override {
    if (is_changed(bucket)) follow(bucket);
    if (const auto next = this->next()) next->after_update(bucket, step);
  }

 private:
  std::shared_ptr<StateObserver> next() {
    const std::scoped_lock lock(mutex_);
    return next_;
  }

  /// fp16 skips some steps.
  bool is_changed(std::size_t bucket) {
    const std::scoped_lock lock(mutex_);
    return changing_.erase(bucket) > 0;
  }

  void follow(std::size_t bucket) {
    const c10::NoGradGuard no_grad;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i].bucket == bucket) averages_[i].lerp_(pieces_[i].value, 1 - decay_);
    }
  }

  std::vector<StatePiece> pieces_;  // of the store
  std::vector<at::Tensor> averages_;
  const double decay_;
  std::mutex mutex_;  // guards what follows
  std::shared_ptr<StateObserver> next_;
  std::set<std::size_t> changing_;
};

std::string name_of_average(const std::string& parameter) { return kPrefix + parameter; }

bool is_average(const std::string& name) { return name.starts_with(kPrefix); }

WeightAverage::WeightAverage(parallel::StateAccess& store, double decay)
    : store_(store), follower_(std::make_shared<Follower>(store.owned_state(), decay)) {
  store_.observe_state(follower_);
}

WeightAverage::~WeightAverage() { store_.observe_state(nullptr); }

void WeightAverage::take_values(const model::BlockValues& source) {
  store_.take_values(source);
  follower_->restart();
}

std::vector<StatePiece> WeightAverage::owned_state() { return follower_->pieces(); }

void WeightAverage::observe_state(std::shared_ptr<StateObserver> observer) { follower_->set_next(std::move(observer)); }

void WeightAverage::exchange() {
  follower_->exchange();
  store_.publish();
}

}  // namespace lshdp::train
