// What a step of one replica costs: seconds of its stages and messages from a profile, and when each rank works.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "block_costs.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/profile.h"
#include "lshdp/plan/stage_schedule.h"

namespace lshdp::plan {

/// When a stage works, from the begin of the step.
struct StageWindow {
  double first_begin = 0, first_forward_end = 0;
  double last_backward_begin = 0, end = 0;
};

/// A step of a replica, without the exchange of gradients and without the update.
struct ReplicaStep {
  double seconds = 0;                // the end of the last work
  std::vector<StageWindow> windows;  // by stage
  std::vector<double> busy;          // by stage: forward and backward, with the CPU time of its messages
};

class PipelineCost {
 public:
  /// `profile` must outlive it. `largest`: no larger micro-batch is asked for.
  PipelineCost(const Profile& profile, std::int64_t largest);

  const Profile& profile() const { return profile_; }
  const BlockCosts& blocks() const { return blocks_; }

  /// Of the whole model, at best.
  double samples_per_second(std::size_t rank) const { return samples_per_second_[rank]; }
  /// Blocks `range` on `rank`, one micro-batch of `samples`, with the CPU time of its messages on a "cpu" device.
  PassSeconds stage_seconds(std::size_t rank, BlockRange range, std::int64_t samples) const;
  /// Of what the block before `cut` gives to it, from rank to rank; 0 without a network.
  double send_seconds(std::size_t from, std::size_t to, std::size_t cut, std::int64_t samples) const;
  /// CPU-seconds over cores that `bytes`, sent and received, take of the rank's computing.
  double transfer_seconds(std::size_t rank, double bytes) const;
  /// Of the rank's own link, each way; 0: no network.
  double link_rate(std::size_t rank) const;
  /// That `rank` sends, and as many that it receives, in a step of `replica`.
  double message_bytes(const Replica& replica, std::size_t rank) const;
  /// Of the optimizer, for parameters that the rank owns.
  double update_seconds(std::size_t rank, double parameters) const;

  StageTime stage_time(const Replica& replica, std::size_t stage, std::int64_t samples) const;
  StageCosts costs(const Replica& replica) const;
  /// Stages must have their in_flight. By event simulation (stage_schedule.h).
  ReplicaStep step(const Replica& replica, PipelineSchedule schedule) const;

 private:
  const Profile& profile_;
  BlockCosts blocks_;
  std::vector<double> update_seconds_per_parameter_, samples_per_second_;  // by rank
};

inline BlockRange range_of(const Stage& stage) { return {stage.start, stage.end}; }
inline std::size_t rank_of(const Stage& stage) { return static_cast<std::size_t>(stage.rank); }

}  // namespace lshdp::plan
