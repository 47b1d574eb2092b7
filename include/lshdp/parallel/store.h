// ParameterStore: where a model's parameters live, where its gradients go and who updates them; and the two parts of it
// that others see.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/model/weights.h"
#include "lshdp/parallel/loss_scaler.h"

namespace lshdp::parallel {

/// AdamW with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), as torch.optim.AdamW computes it.
struct AdamW {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0.01;  // of parameters with model::Parameter::decay, or of all with decay_all
  bool decay_all = false;
};

/// What the update of one step needs to know; the same on all ranks.
struct Update {
  std::int64_t step = 1;  // steps so far, this one included: AdamW's bias correction, without those that were skipped
  double learning_rate = 0;
  std::int64_t global_terms = 1;  // loss terms of the step over all ranks: summed gradients are divided by it
  double clip_norm = 0;           // gradients are scaled so that their global norm is at most this; 0: not clipped
  std::int64_t passes = 1;        // micro-batches of the rank that has most in this step, at least 1
  double backward_scale = 1;      // ParameterAccess::backward_scale() of the step, which the store fills in

  /// How many times the mean gradient the sum over micro-batches and ranks is.
  double sum_over_mean() const { return static_cast<double>(global_terms) * backward_scale; }
};

/// Bytes that a step reduces and gathers, of which each rank sends (N-1)/N, and the part that nothing can hide: the two
/// buckets whose gradients come last and whose parameters the next forward needs first (the first one alone is often an
/// embedding, whose backward takes no time in which the second could travel). For the solver's model of a step. Rows of
/// a table that are looked up travel beside these.
struct StepTraffic {
  std::int64_t gradient_bytes = 0;
  std::int64_t parameter_bytes = 0;
  std::int64_t exposed_bytes = 0;
};

/// Copies, and the seconds that they took by themselves.
struct HostLink {
  std::int64_t bytes = 0;
  double seconds = 0;
};

/// A run of one parameter's elements that this rank owns, as flat views of the live state in the master type.
struct StatePiece {
  std::size_t block = 0, parameter = 0;
  std::string name;        // model::Parameter::name
  std::int64_t begin = 0;  // first element, in the parameter's own row-major order
  at::Tensor value, first_moment, second_moment;
  std::size_t bucket = 0;  // whose pieces change together
};

/// Hears of the steps that change the pieces this rank owns, on the thread that changes them. `step` is Update::step.
class StateObserver {
 public:
  virtual ~StateObserver() = default;
  /// The step is about to change the bucket's pieces: they stay as they are until this returns. Not called where fp16
  /// skips the step.
  virtual void before_update(std::size_t bucket, std::int64_t step) = 0;
  /// The step is done with the bucket's pieces; on a device of its own memory, its work may still be under way. Comes
  /// before synchronize() returns.
  virtual void after_update(std::size_t bucket, std::int64_t step) = 0;
};

/// Takes model.blocks[block]->parameters()[parameter].
using TakeValue = std::function<void(std::size_t block, std::size_t parameter, const at::Tensor& value)>;

/// What the update of one step found on this rank.
struct StepReport {
  /// This rank's part of the squared global norm of the mean gradient, before clipping: parts add up over ranks. In
  /// fp16, a step whose global norm is not finite was skipped: no rank updated anything.
  double local_squared_norm = 0;
  double loss_scale = 1;  // fp16
};

/// What a store has used since it was made.
struct StoreUsage {
  double wait_seconds = 0;      // the computing thread stood in acquire() and synchronize()
  double update_seconds = 0;    // of optimizer work
  HostLink host_link = {};      // what was copied from host memory to the device
  std::int64_t host_bytes = 0;  // held beside the device now; what a node's ranks share counts on one of them
};

/// What forward and backward need: parameters and a place for gradients. One object per rank; all ranks make the same
/// calls in the same order, except that a rank without samples adds no gradients but the empty one. Within a step, each
/// pass (a micro-batch) acquires the blocks in rising order and then each again in falling order, adding its gradients.
/// Ranks may make different numbers of passes, unless gathers_every_pass(). Failures of the network surface as RunError
/// from any call.
class ParameterAccess {
 public:
  virtual ~ParameterAccess() = default;

  /// Begins a step. The previous step's communication may still be under way.
  virtual void begin_step(const Update& update) = 0;
  /// True: passes are collective. In each step all ranks make Update::passes of them, those with fewer samples empty
  /// ones first, so that the last pass is every rank's last; and outside of steps all ranks make the same number of
  /// forward passes.
  virtual bool gathers_every_pass() const { return false; }
  /// True: within a step the first block's table (Block::looked_up) is only the rows that this rank looks up in it, in
  /// parameters(0) and in gradients.
  virtual bool looks_up_rows() const { return false; }
  /// The numbers of these rows: int64 [K], rising, K may be 0. To be called after begin_step() and before any other
  /// call of the step, where looks_up_rows(). Throws std::invalid_argument for a row that the table does not have.
  virtual void look_up(const at::Tensor&) {}
  /// Returns when the current parameters of `block` (and those it borrows) are on the compute device. Within a step,
  /// acquire every block before adding its gradients.
  virtual void acquire(std::size_t block) = 0;
  /// Between acquire and release: the block's parameters, then those it borrows, in the compute type; leaves that
  /// require grad.
  virtual std::span<const at::Tensor> parameters(std::size_t block) const = 0;
  /// The parameters may leave the device.
  virtual void release(std::size_t block) = 0;
  /// Adds gradients of parameters(block), in that order, to this step's sum. `last`: this rank adds nothing more to
  /// `block` in this step, and the reduction may start. Empty `gradients`: adds zero (a rank without samples). Blocks
  /// get their last gradients in falling order.
  virtual void add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) = 0;
  /// fp16: what the gradient of the summed loss must be multiplied with in the step under way; known once the step has
  /// acquired every block. Gradients handed to add_gradient() are so many times too large.
  virtual double backward_scale() const { return 1; }
};

/// Parameters, moments and loss scale from outside of steps: what checkpoints and files of weights need. All calls
/// follow synchronize(), but for owned_state() and observe_state().
class StateAccess {
 public:
  virtual ~StateAccess() = default;

  /// Sets all parameters (of any floating type) and clears the moments. Same values on all ranks; no communication but
  /// that of `source`. Of the values, no more than a bucket and a block are held at a time.
  virtual void take_values(const model::BlockValues& source) = 0;
  void set_values(const model::Values& values) {
    take_values([&](std::size_t block) { return values[block]; });
  }
  /// Hands each parameter, whole and in the master type, to `take`, on every rank; the tensor's memory is another's
  /// afterwards. Only a bucket at a time is held beside what the store has, in host memory. All ranks must call it;
  /// `take` must not throw.
  virtual void gather_each(const TakeValue& take) = 0;
  /// A copy of all of them. All ranks must call it.
  model::Values gather_values();
  /// The pieces this rank owns: over all ranks they cover every element once.
  virtual std::vector<StatePiece> owned_state() = 0;
  /// From the next update on, once for each bucket of owned_state() and step. Null: nobody.
  virtual void observe_state(std::shared_ptr<StateObserver> observer) = 0;
  /// The tensors of owned_state() were written to: brings the values to every rank. All ranks must call it.
  virtual void publish() = 0;
  /// fp16: where the loss scale stands, the same on all ranks.
  virtual LossScale loss_scale() const { return {}; }
  virtual void set_loss_scale(const LossScale&) {}
  /// The memory of the block's parameters that are not trained, as it is held; tensors of the same sizes on every rank
  /// that holds the block, in the same order. Empty: it has none, or is not held.
  virtual std::vector<at::Tensor> frozen_state(std::size_t) { return {}; }
};

/// Where a model's parameters live, where its gradients go and who updates them.
class ParameterStore : public ParameterAccess, public StateAccess {
 public:
  /// Returns when every update begun is everywhere: before evaluation, checkpoint, exit. All ranks must call it.
  virtual void synchronize() = 0;
  /// Of the step whose Update::step was `step`: known after synchronize(), or once the next step has acquired every
  /// block, of the last two such steps (std::logic_error otherwise).
  virtual StepReport report_of(std::int64_t step) const = 0;
  virtual StoreUsage usage() const = 0;
};

}  // namespace lshdp::parallel
