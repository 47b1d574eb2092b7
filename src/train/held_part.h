// HeldPart: what a rank holds of the model, and what it computes with it.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/trace.h"
#include "lshdp/data/loader.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/store_options.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/plan/layout.h"
#include "lshdp/train/trainer.h"

namespace lshdp::train {

/// The store, the walker over it, and with a layout the pipeline over both. One per rank; all ranks make the same
/// calls.
class HeldPart {
 public:
  /// The store's values are zero. What is given must outlive it, but for `options`.
  HeldPart(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
           SpeedEmulator& emulator, Trace& trace);

  parallel::ParameterStore& store() { return *store_; }
  const parallel::ParameterStore& store() const { return *store_; }
  /// Of a layout; null without one.
  const parallel::Placement* placement() const { return store_options_.placement.get(); }
  parallel::BlockWalker& walker() { return *walker_; }
  /// Null without a layout.
  parallel::Pipeline* pipeline() { return pipeline_.get(); }
  /// Whether it is one pipeline of several stages, which can be cut anew.
  bool can_move() const;
  const std::optional<plan::Layout>& layout() const { return layout_; }
  /// Of the model, that this rank holds.
  std::int64_t blocks() const;

  double train_step(const parallel::Update& update, const data::Batch& batch,
                    const std::vector<std::int64_t>& micro_batches, std::int64_t first_sample);

  /// Blocks go to the ranks that have them in `layout`, which differs in its cuts only. The store is synchronized, and
  /// nothing else refers to it. Returns the bytes that went from rank to rank. Throws RunError: out of memory, with
  /// what would help, or another rank is lost.
  std::int64_t move_to(const plan::Layout& layout);

  /// Seconds since the start, moves notwithstanding: forward, backward and update; and waits for parameters and for
  /// other stages.
  double compute_seconds() const;
  double wait_seconds() const;

 private:
  void make_walker();

  comm::Communicator& communicator_;
  const model::Model& model_;
  measure::RankSetup setup_;
  SpeedEmulator& emulator_;
  Trace& trace_;
  parallel::WalkerOptions walker_options_;
  parallel::StoreOptions store_options_;
  std::optional<plan::Layout> layout_;
  std::unique_ptr<parallel::ParameterStore> store_;
  std::unique_ptr<parallel::BlockWalker> walker_;
  std::unique_ptr<parallel::Pipeline> pipeline_;
  double compute_before_ = 0, wait_before_ = 0;  // of the stores, walkers and pipelines before these
};

}  // namespace lshdp::train
