// The figures of each step, gathered from all ranks without making any of them wait.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/train/metrics.h"

namespace lshdp::train {

/// What one rank knows at the end of its part of a step. Seconds are totals since the start; differences are taken
/// here.
struct LocalStep {
  std::int64_t step = 0;                // counted from 1
  double loss = 0;                      // summed over this rank's terms
  double squared_norm_of_previous = 0;  // this rank's part, of the step before: its own is not reduced yet
  double loss_scale_of_previous = 1;    // fp16
  double compute_seconds = 0, communication_seconds = 0, wait_seconds = 0;
  double cpu_seconds = 0, communication_cpu_seconds = 0;  // of the process, and of them its engine thread's
  std::int64_t bytes_sent = 0;                            // to other ranks, since the start
  std::int64_t peak_tensor_bytes = 0;                     // the most at a time since the start; 0: not known
  bool interrupted = false;
  bool checkpoint_due = false;           // by this rank's clock
  std::int64_t checkpoint_progress = 0;  // CheckpointWriter::progress()
};

/// One step as all ranks saw it.
struct GatheredStep {
  std::int64_t step = 0;
  std::vector<double> losses;            // by rank, summed over its terms
  bool interrupted = false;              // some rank was
  bool checkpoint_due = false;           // some rank says so
  std::int64_t checkpoint_progress = 0;  // the least of all ranks
  double loss_scale = 1;                 // fp16
  StepRecord record;                     // step, gradient_norm, step_seconds and the vectors; the rest is the caller's
};

/// All ranks make the same calls in the same order. A step's figures come out two steps later, because its gradient
/// norm travels with the figures of the next; flush() brings out the rest.
class StepStatistics {
 public:
  explicit StepStatistics(comm::Communicator& communicator);
  /// Waits for what is under way: the memory it arrives in goes.
  ~StepStatistics();
  StepStatistics(const StepStatistics&) = delete;
  StepStatistics& operator=(const StepStatistics&) = delete;
  /// Time that passed up to `now` (now_seconds()), and what `totals` has counted, belong to no step.
  void begin(double now, const LocalStep& totals = {});
  /// The end of a step on this rank: sends its figures round.
  std::vector<GatheredStep> end_step(const LocalStep& local);
  /// Brings out all steps; `squared_norm` (this rank's part) and `loss_scale` are of the last one. Waits for all ranks.
  std::vector<GatheredStep> flush(double squared_norm, double loss_scale = 1);

 private:
  /// The figures of one step by rank, as they travel.
  struct Round {
    std::int64_t step = 0;
    std::vector<double> values;
    comm::Work work;
    std::string time;       // when this rank had computed it
    double loss_scale = 1;  // the same on all ranks: it does not travel
  };
  /// Waits for the round under way; it becomes the one whose norm is missing, and the one before comes out.
  std::vector<GatheredStep> receive();
  GatheredStep complete(const Round& round, double global_squared_norm) const;

  comm::Communicator& communicator_;
  comm::Shards shards_;
  LocalStep totals_;  // at the end of the last step
  double last_end_ = 0;
  std::optional<Round> under_way_, without_norm_;
};

}  // namespace lshdp::train
