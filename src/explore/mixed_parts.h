// One layout over devices of several types: who holds what, its memory, its step.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/explore/hardware.h"
#include "stage_memory.h"
#include "step_clock.h"

namespace lshdp::explore {

/// Each stage on devices of one type.
class MixedStages {
 public:
  /// Deals out the layers.
  MixedStages(const Model& model, const Trainer& trainer, const std::vector<Hardware>& types, const Layout& layout,
              const std::vector<std::size_t>& type_of_stage);

  const std::vector<std::int64_t>& layers() const { return layers_; }
  /// By stage.
  std::vector<StageMemory> memory() const;
  StepTime time() const;

 private:
  std::int64_t most_layers(std::size_t stage) const;
  void deal_out_layers();

  const Model& model_;
  const Trainer& trainer_;
  const std::vector<Hardware>& types_;
  const Layout& layout_;
  const std::vector<std::size_t>& type_of_stage_;
  SharedOut shared_;
  MicroBatchActivations bytes_;
  std::vector<MicroBatchTimes> times_;  // by type
  std::vector<std::int64_t> layers_;
};

/// Each replica of the model on devices of one type.
class MixedReplicas {
 public:
  /// `devices` by type. Deals out the micro-batches; a type may get none.
  MixedReplicas(const Model& model, const Trainer& trainer, const std::vector<Hardware>& types,
                const std::vector<std::int64_t>& devices, const Layout& layout);

  // By type.
  const std::vector<std::int64_t>& replicas() const { return replicas_; }
  const std::vector<std::int64_t>& micro_batches() const { return micro_batches_; }
  /// True if each takes its share as one micro-batch (MixedLayout::at_once).
  bool at_once() const { return at_once_; }
  /// Of the fullest stage.
  std::vector<StageMemory> memory() const;
  StepTime time() const;

 private:
  void deal_out_micro_batches();
  /// Times of a type's micro-batch of so many sequences.
  void set_times(std::size_t type, std::int64_t micro_batch);
  /// Until a type with `micro_batches` has done its last backward.
  double seconds_of(std::size_t type, std::int64_t micro_batches);

  const Model& model_;
  const Trainer& trainer_;
  const std::vector<Hardware>& types_;
  const Layout& layout_;
  bool at_once_;
  SharedOut shared_;
  UnitParameters units_;
  std::vector<Stage> stages_;
  std::vector<StageParameters> parameters_;
  std::vector<std::vector<StagePass>> passes_;  // by type
  std::vector<std::vector<StageEnd>> ends_;     // by type
  std::vector<std::int64_t> replicas_, micro_batches_;
};

}  // namespace lshdp::explore
