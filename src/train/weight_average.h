// WeightAverage: the exponential moving average of what a run trains; each rank keeps that of the state it owns.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "lshdp/parallel/store.h"

namespace lshdp::train {

/// What a checkpoint calls the average of that parameter.
std::string name_of_average(const std::string& parameter);
bool is_average(const std::string& name);

/// A store's state with the average beside it. One per rank; all ranks make the same calls. After each step that
/// changes the weights, average = decay * average + (1 - decay) * weights, on the thread that changed them; it begins
/// as the weights are when this object is made. On the host it counts in no budget of tensors. `store` must outlive it,
/// and have its state in the same places as long.
class WeightAverage final : public parallel::StateAccess {
 public:
  WeightAverage(parallel::StateAccess& store, double decay);
  ~WeightAverage() override;
  WeightAverage(const WeightAverage&) = delete;
  WeightAverage& operator=(const WeightAverage&) = delete;

  void take_values(const model::BlockValues& source) override;
  void gather_each(const parallel::TakeValue& take) override { store_.gather_each(take); }
  /// And the averages, as pieces of their own names (name_of_average()), whose moments are undefined.
  std::vector<parallel::StatePiece> owned_state() override;
  /// Hears of a bucket's update once its average has followed.
  void observe_state(std::shared_ptr<parallel::StateObserver> observer) override;
  void publish() override { store_.publish(); }
  parallel::LossScale loss_scale() const override { return store_.loss_scale(); }
  void set_loss_scale(const parallel::LossScale& state) override { store_.set_loss_scale(state); }

  /// While it lives, the store's weights are the average. All ranks must make and destroy it together, with a
  /// synchronized store and no checkpoint under way.
  class Shown {
   public:
    explicit Shown(WeightAverage& average) : average_(average) { average_.exchange(); }
    ~Shown() noexcept(false) { average_.exchange(); }
    Shown(const Shown&) = delete;
    Shown& operator=(const Shown&) = delete;

   private:
    WeightAverage& average_;
  };

 private:
  class Follower;

  void exchange();

  parallel::StateAccess& store_;
  std::shared_ptr<Follower> follower_;
};

}  // namespace lshdp::train
