// DryRun: one rank's training with the real store and walker, but without the other ranks.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/memory.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/model/shapes.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/plan/profile.h"

namespace lshdp::measure {

/// model::synthetic_batch() on the device that the rank computes on.
model::SyntheticBatch synthetic_batch_there(const model::InputSpec& input, std::int64_t batch, std::uint64_t seed,
                                            const RankSetup& setup);

/// Has the buffers and does the work of rank `rank` of `ranks` over a NullCommunicator, on synthetic batches.
/// Parameters are zero and stay so: what is measured does not depend on values. `model` and `emulator` (may be null)
/// must outlive it. `ranges` (two at most, rising): it has these blocks of the model alone, as a rank of a pipeline
/// that no other rank shares them with; empty: all blocks.
class DryRun {
 public:
  DryRun(const model::Model& model, const RankSetup& setup, int rank, int ranks, SpeedEmulator* emulator = nullptr,
         std::vector<parallel::BlockRange> ranges = {});

  /// Gives the parameters their first values, as a run does before its first step.
  void initialise();
  /// One micro-batch as the last of a step, then the update. Returns when the update is done.
  void finish_step(const model::SyntheticBatch& batch);
  /// Wall seconds of `count` micro-batches within a step that goes on: forward and backward, no update.
  double time_micro_batches(const model::SyntheticBatch& batch, int count);
  /// Seconds of forward and backward so far, by blocks.
  const parallel::BlockSeconds& block_seconds() const { return walker_.block_seconds(); }
  /// What each block that it has keeps of a forward pass over one sample and what it gives; `budget` counts what is
  /// taken.
  std::vector<plan::BlockProfile> measure_blocks(const MemoryBudget& budget);
  /// Seconds of optimizer work so far.
  double update_seconds() const { return store_->usage().update_seconds; }
  /// What was copied to the device so far.
  parallel::HostLink host_link() const { return store_->usage().host_link; }

 private:
  void begin_step(const model::SyntheticBatch& batch);
  std::vector<parallel::Activations> forward(const model::SyntheticBatch& batch);
  void backward(std::vector<parallel::Activations> activations, const model::SyntheticBatch& batch, bool last);
  const at::Tensor& made_up(std::size_t block, std::int64_t samples);

  const model::Model& model_;
  RankSetup setup_;
  std::vector<parallel::BlockRange> ranges_;
  std::unique_ptr<comm::Communicator> communicator_;
  std::shared_ptr<const parallel::Placement> placement_;  // of a part of the model
  std::unique_ptr<parallel::ParameterStore> store_;
  parallel::BlockWalker walker_;
  std::int64_t step_ = 0;
  bool in_step_ = false;
  std::vector<model::BlockShapes> shapes_;  // of all blocks but the last; empty: not asked for
  at::Tensor input_;                        // what the step looks up
  std::map<std::pair<std::size_t, std::int64_t>, at::Tensor> made_up_;  // by block and samples: of its output's shape
};

}  // namespace lshdp::measure
