// The block walker: one engine for forward and backward, whatever the store.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
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

struct WalkerOptions {
  Precision precision = Precision::fp32;
  bool recompute = false;  // keep only block inputs; run each block's forward again in backward (bitwise equal)
  bool offload_activations = false;  // with recompute: block inputs wait for backward in host memory
  double label_smoothing = 0;
  std::shared_ptr<ComputeDevice> device = nullptr;  // the store's; without one: the host
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
  BlockWalker(const model::Model& model, ParameterStore& store, const WalkerOptions& options,
              SpeedEmulator* emulator = nullptr, Trace* trace = nullptr);
  ~BlockWalker();
  BlockWalker(const BlockWalker&) = delete;
  BlockWalker& operator=(const BlockWalker&) = delete;

  /// Begins a step in which this rank trains `micro_batches`, at most update.passes. `input`: of all of them, or more;
  /// undefined if there are none. Takes part in what other ranks do without it: the whole step if it has none, the
  /// passes that it has less where the store gathers in every pass.
  void begin_step(const Update& update, std::int64_t micro_batches, const at::Tensor& input);
  /// Forward and backward of one micro-batch after begin_step(). `last`: the step's last one of this rank.
  /// Returns the loss summed over the micro-batch's terms.
  double train_micro_batch(const at::Tensor& input, const at::Tensor& target, bool last);
  /// A pass of a rank that has no samples: takes part in its communication.
  void train_nothing(bool last = true);
  /// Logits, without gradients. The emulator does not slow it: it serves evaluation and generation.
  at::Tensor forward(const at::Tensor& input);
  Evaluation evaluate(const at::Tensor& input, const at::Tensor& target);
  /// A forward pass without samples, where other ranks make one more and the store gathers in every pass.
  void forward_nothing();
  bool gathers_every_pass() const { return store_.gathers_every_pass(); }
  bool looks_up_rows() const { return store_.looks_up_rows(); }

  /// Seconds of forward and backward of the micro-batches so far, as the device took them; emulated sleep included,
  /// waits for the store not.
  double compute_seconds() const { return compute_seconds_; }

 private:
  /// What backward needs of a block's forward.
  struct Kept {
    at::Tensor input;   // a leaf
    at::Tensor output;  // the head of its graph; undefined: backward runs the forward again
  };
  /// Computing between two waits.
  struct Stretch {
    const char* phase;
    std::size_t block;
    Moment begun, ended;
  };
  at::Tensor to_compute_type(const at::Tensor& input) const;
  void look_up(const at::Tensor& input);
  at::Tensor in_rows(const at::Tensor& input) const;
  void acquire(std::size_t block);
  at::Tensor run_block(std::size_t block, const at::Tensor& input) const;
  Kept keep(std::size_t block, const at::Tensor& input, bool with_graph) const;
  std::vector<Kept> forward_blocks(const at::Tensor& input);
  double backward_blocks(std::vector<Kept> kept, const at::Tensor& target, bool last);
  at::Tensor backward_block(std::size_t block, const Kept& kept, const at::Tensor& output,
                            const at::Tensor& output_gradient, bool last);
  void compute(const char* phase, std::size_t block, const std::function<void()>& work);
  void count_stretches();
  void put_away(std::size_t block, Kept& kept);
  void bring_back(std::size_t block, Kept& kept);

  const model::Model& model_;
  ParameterStore& store_;
  WalkerOptions options_;
  std::shared_ptr<ComputeDevice> device_;
  std::unique_ptr<HostInputs> host_inputs_;  // null: inputs stay on the device
  SpeedEmulator* emulator_;
  Trace* trace_;
  std::vector<Stretch> stretches_;  // of the micro-batch under way
  at::Tensor rows_;                 // int64, rising: what the step looks up, where the store wants to know
  double compute_seconds_ = 0;
};

}  // namespace lshdp::parallel
