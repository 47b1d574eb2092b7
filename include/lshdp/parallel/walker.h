// The block walker: one engine for forward and backward, whatever the store.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/core/device.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/trace.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/precision.h"
#include "lshdp/parallel/store.h"

namespace lshdp::parallel {

class HostInputs;

/// Consecutive blocks [begin, end) of a model.
struct BlockRange {
  std::size_t begin = 0, end = 0;
};

struct WalkerOptions {
  Precision precision = Precision::fp32;
  bool recompute = false;  // keep only block inputs; run each block's forward again in backward (bitwise equal)
  bool offload_activations = false;  // with recompute: block inputs wait for backward in host memory
  double label_smoothing = 0;
  std::uint64_t seed = 0;                              // of dropout
  std::shared_ptr<ComputeDevice> device = nullptr;     // the store's; without one: the host
  std::optional<std::vector<BlockRange>> ranges = {};  // the blocks that this rank holds, rising; none: all of them
};

/// What backward needs of one micro-batch's forward. Several can be held at a time.
class Activations {
 public:
  Activations();
  ~Activations();
  Activations(Activations&&) noexcept;
  Activations& operator=(Activations&&) noexcept;

  /// What the last block gave, without its graph: logits, or what the next stage reads.
  const at::Tensor& output() const { return output_; }
  /// The same; it is not kept any longer.
  at::Tensor take_output() { return std::move(output_); }

 private:
  friend class BlockWalker;
  struct Block {
    at::Tensor input;   // a leaf
    at::Tensor output;  // the head of its graph; undefined: backward runs the forward again
  };
  BlockRange range_;
  model::Pass pass_;

  Block& of(std::size_t block) { return blocks_[block - range_.begin]; }

  std::vector<Block> blocks_;                // of the range
  std::unique_ptr<HostInputs> host_inputs_;  // null: inputs stay on the device
  at::Tensor output_;
};

/// Seconds by block, in the model's order.
struct BlockSeconds {
  std::vector<double> forward, backward;
};

/// What one micro-batch's backward gives.
struct BackwardResult {
  double loss = 0;            // with the last block: summed over the micro-batch's terms
  at::Tensor input_gradient;  // without the first block: of the loss, times ParameterAccess::backward_scale()
};

/// Sums over the samples of a batch.
struct Evaluation {
  double loss = 0;
  std::int64_t correct = 0;
  std::int64_t terms = 0;
};

/// Runs blocks one at a time: forward with each block's graph cut at its input, backward from the last block to the
/// first, so that a block's gradients are with the store while the blocks before it have not run backward yet.
/// `emulator` (only where the host computes) and `trace` may be null. Targets and inputs as model::InputSpec says, of
/// the host or of the device; floating inputs are converted to the compute type here.
class BlockWalker {
 public:
  BlockWalker(const model::Model& model, ParameterAccess& store, const WalkerOptions& options,
              SpeedEmulator* emulator = nullptr, Trace* trace = nullptr);
  ~BlockWalker();
  BlockWalker(const BlockWalker&) = delete;
  BlockWalker& operator=(const BlockWalker&) = delete;

  /// One step of this rank: forward and backward of each micro-batch in turn. `input` and `target`: the rank's samples
  /// [S, ...] of the step, undefined if it has none. `micro_batches`: their sizes in samples, which add up to S, at
  /// most update.passes of them. `first_sample`: the number of the first in the order of all ranks' samples, in which
  /// the others follow it; dropout is drawn by these numbers. `positions`: int64 [S, T] of each token in its document,
  /// where samples hold several (model::Documents), else undefined. Returns the loss summed over all terms. All ranks
  /// must call it, also without samples; the update and its communication may still be under way when it returns.
  double train_step(const Update& update, const at::Tensor& input, const at::Tensor& target,
                    const std::vector<std::int64_t>& micro_batches, std::int64_t first_sample = 0,
                    const at::Tensor& positions = {});

  /// The parts of a step, for other schedules and for measuring. Begins a step in which this rank trains so many
  /// micro-batches, at most update.passes. `input`: of all of them, or more; undefined if there are none. Takes part in
  /// what other ranks do without it: the whole step if it has none, the passes that it has less where the store gathers
  /// in every pass.
  void begin_step(const Update& update, std::int64_t micro_batches, const at::Tensor& input);
  /// `input`: of one micro-batch; the first block's are data, others' are activations in the compute type.
  Activations forward_pass(const at::Tensor& input) { return forward_pass(whole_model(), input); }
  /// The same through some of the blocks, one stage of a model that is cut.
  Activations forward_pass(const BlockRange& range, const at::Tensor& input, std::int64_t first_sample = 0,
                           const at::Tensor& positions = {});
  /// Is told from now on what each block read and gave in a forward pass; empty: nobody is.
  using Observe = std::function<void(std::size_t block, const at::Tensor& input, const at::Tensor& output)>;
  void observe_forward(Observe observe) { observe_ = std::move(observe); }
  /// Through the blocks of the forward pass. `given`: with the last block the targets, else the gradient of the loss by
  /// output(). `last`: the last micro-batch of the step that this rank takes through these blocks.
  BackwardResult backward_pass(Activations activations, const at::Tensor& given, bool last);
  /// A pass of a rank that has no samples: takes part in its communication.
  void empty_pass(bool last = true);
  /// Logits, without gradients. The emulator does not slow it: it serves evaluation and generation.
  at::Tensor forward(const at::Tensor& input, const at::Tensor& positions = {}) {
    return forward(whole_model(), input, positions);
  }
  /// What the last block of the range gives.
  at::Tensor forward(const BlockRange& range, const at::Tensor& input, const at::Tensor& positions = {});
  /// For generation: the positions [B, T, ..] after those that `caches`, one a block of the model, hold
  /// (Block::forward_next); with the last block the logits [B, 1, V] after the last of them.
  at::Tensor forward_next(const BlockRange& range, const at::Tensor& input, std::span<model::BlockCache> caches);
  Evaluation evaluate(const at::Tensor& input, const at::Tensor& target, const at::Tensor& positions = {}) {
    return judge(forward(input, positions), target);
  }
  /// Of logits that forward() gave.
  Evaluation judge(const at::Tensor& logits, const at::Tensor& target) const;
  /// A forward pass without samples, where other ranks make one more and the store gathers in every pass.
  void empty_forward();
  bool gathers_every_pass() const { return store_.gathers_every_pass(); }
  bool looks_up_rows() const { return store_.looks_up_rows(); }

  /// Seconds of forward and backward of the micro-batches so far, as the device took them; emulated sleep included,
  /// waits for the store not.
  double compute_seconds() const { return compute_seconds_; }
  /// The same by blocks.
  const BlockSeconds& block_seconds() const { return block_seconds_; }

 private:
  BlockRange whole_model() const { return {0, model_.blocks.size()}; }
  std::vector<BlockRange> ranges() const { return options_.ranges.value_or(std::vector{whole_model()}); }
  enum class Phase { forward, backward };
  /// Computing between two waits.
  struct Stretch {
    Phase phase;
    std::size_t block;
    Event begun, ended;
  };
  at::Tensor to_compute_type(const at::Tensor& input) const;
  model::Documents documents_of(const at::Tensor& positions) const;
  void look_up(const at::Tensor& input);
  at::Tensor in_rows(const at::Tensor& input) const;
  void acquire(std::size_t block);
  at::Tensor run_block(std::size_t block, const at::Tensor& input, const model::Pass& pass) const;
  Activations::Block keep(const Activations& activations, std::size_t block, const at::Tensor& input,
                          bool with_graph) const;
  bool wants_input_gradient(std::size_t block, const BlockRange& range) const;
  std::unique_ptr<HostInputs> take_host_inputs();
  bool gives_loss(std::size_t block) const { return block + 1 == model_.blocks.size(); }
  at::Tensor backward_block(std::size_t block, const Activations::Block& kept, const at::Tensor& output,
                            const at::Tensor& output_gradient, bool last);
  void compute(Phase phase, std::size_t block, const std::function<void()>& work);
  void count_stretches();
  void offload_input(std::size_t block, Activations& activations) const;
  void reload_input(std::size_t block, Activations& activations) const;

  const model::Model& model_;
  ParameterAccess& store_;
  WalkerOptions options_;
  std::shared_ptr<ComputeDevice> device_;
  std::vector<std::unique_ptr<HostInputs>> spare_host_inputs_;  // of micro-batches that are done
  SpeedEmulator* emulator_;
  Trace* trace_;
  Observe observe_;
  std::vector<Stretch> stretches_;  // not counted yet
  at::Tensor rows_;                 // int64, rising: what the step looks up, where the store wants to know
  std::int64_t step_ = 0;
  std::size_t first_trained_;  // block; the number of blocks if none is
  double compute_seconds_ = 0;
  BlockSeconds block_seconds_;
};

}  // namespace lshdp::parallel
