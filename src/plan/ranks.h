// The ranks of a profile as the solver sees them: f_r of each and what a step costs beside it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "lshdp/plan/profile.h"
#include "step_model.h"

namespace lshdp::plan {

/// The cost of every rank. Ranks with the same curve share one table of f, so that ten thousand ranks of a few kinds
/// cost as little as the few.
class Ranks {
 public:
  /// Ranks that behave alike: the same table and the same fixed time.
  struct Class {
    std::size_t first_rank = 0;
    std::int64_t ranks = 0;
  };

  /// `limit`: micro-batches a rank may run (0: no limit); `largest`: no larger batch of a rank is asked for.
  Ranks(const Profile& profile, const ShardWeights& shards, std::int64_t limit, std::int64_t largest);

  std::size_t size() const { return cost_of_rank_.size(); }
  const StepModel& model() const { return model_; }
  const std::vector<Class>& classes() const { return classes_; }
  SplitCost& cost(std::size_t rank) { return costs_[cost_of_rank_[rank]]; }
  double fixed(std::size_t rank) const { return model_.fixed_seconds[rank]; }
  /// When `rank` is done with `batch` samples, from the start of a step, transfers included that its micro-batches hold
  /// up.
  double finish(std::size_t rank, std::int64_t batch) {
    const SplitTime time = cost(rank).time(batch);
    return std::max(time.seconds + fixed(rank), time.network);
  }
  /// The most samples with which `rank` is done within `seconds`.
  std::int64_t capacity(std::size_t rank, double seconds) {
    return cost(rank).capacity(seconds - fixed(rank), seconds);
  }
  /// No step is shorter, whatever the batches.
  double largest_fixed() const;
  /// What all ranks together can take in a step.
  std::int64_t largest_total();

 private:
  StepModel model_;
  std::vector<SplitCost> costs_;
  std::vector<std::size_t> cost_of_rank_;
  std::vector<Class> classes_;
};

}  // namespace lshdp::plan
