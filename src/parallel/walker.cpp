// Forward and backward, one block at a time.
#include "lshdp/parallel/walker.h"

#include <algorithm>
#include <stdexcept>
#include <tuple>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "bucket_transfer.h"
#include "host_inputs.h"
#include "lshdp/core/clock.h"

namespace lshdp::parallel {
namespace {

// A shorter wait is the cost of the call: the emulated clock runs on.
constexpr double kRealWait = 200e-6;

}  // namespace

BlockWalker::BlockWalker(const model::Model& model, ParameterStore& store, const WalkerOptions& options,
                         SpeedEmulator* emulator, Trace* trace)
    : model_(model),
      store_(store),
      options_(options),
      device_(device_or_host(options.device)),
      emulator_(emulator),
      trace_(trace) {
  if (options.offload_activations) host_inputs_ = std::make_unique<HostInputs>(*device_, model.blocks.size());
}

BlockWalker::~BlockWalker() { settle(*device_); }

void BlockWalker::begin_step(const Update& update, std::int64_t micro_batches, const at::Tensor& input) {
  store_.begin_step(update);
  if (store_.looks_up_rows()) look_up(input);
  const std::int64_t passes = store_.gathers_every_pass() ? update.passes : std::max<std::int64_t>(micro_batches, 1);
  if (micro_batches > passes) throw std::invalid_argument("more micro-batches than passes of the step");
  for (std::int64_t empty = passes - micro_batches; empty > 0; --empty) train_nothing(micro_batches == 0 && empty == 1);
}

double BlockWalker::train_micro_batch(const at::Tensor& input, const at::Tensor& target, bool last) {
  if (emulator_ != nullptr) emulator_->begin();
  stretches_.clear();  // of one that ended with an error
  const at::Tensor there = device_->upload(input);
  const at::Tensor first = store_.looks_up_rows() ? in_rows(there) : to_compute_type(there);
  return backward_blocks(forward_blocks(first), device_->upload(target), last);
}

void BlockWalker::look_up(const at::Tensor& input) {
  const at::Tensor rows =
      input.defined() ? std::get<0>(at::_unique(input.flatten(), /*sorted=*/true)).cpu() : at::empty({0}, at::kLong);
  store_.look_up(rows);
  rows_ = device_->upload(rows);
}

/// The input as numbers of the rows that the step looks up.
at::Tensor BlockWalker::in_rows(const at::Tensor& input) const {
  const at::Tensor places = at::searchsorted(rows_, input);
  const bool known = rows_.numel() > 0 && places.max().item<std::int64_t>() < rows_.numel() &&
                     rows_.index_select(0, places.flatten()).equal(input.flatten());
  if (!known) throw std::logic_error("a micro-batch that is not of the input which the step began with");
  return places;
}

void BlockWalker::train_nothing(bool last) {
  forward_nothing();
  const bool gathers = store_.gathers_every_pass();
  for (std::size_t block = model_.blocks.size(); block-- > 0;) {
    if (gathers) acquire(block);
    store_.add_gradient(block, {}, last);
    if (gathers) store_.release(block);
  }
}

void BlockWalker::forward_nothing() {
  for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
    acquire(block);
    store_.release(block);
  }
}

at::Tensor BlockWalker::forward(const at::Tensor& input) {
  const c10::NoGradGuard no_grad;
  at::Tensor x = to_compute_type(device_->upload(input));
  for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
    acquire(block);
    x = run_block(block, x);
    store_.release(block);
  }
  return x;
}

Evaluation BlockWalker::evaluate(const at::Tensor& input, const at::Tensor& target) {
  const c10::NoGradGuard no_grad;
  const at::Tensor logits = forward(input), wanted = device_->upload(target);
  return {model::summed_cross_entropy(logits, wanted, 0).item<double>(), model::correct_predictions(logits, wanted),
          target.numel()};
}

at::Tensor BlockWalker::to_compute_type(const at::Tensor& input) const {
  return input.is_floating_point() ? input.to(compute_type(options_.precision)) : input;
}

void BlockWalker::acquire(std::size_t block) {
  const double begun = now_seconds();
  store_.acquire(block);
  const double ended = now_seconds();
  if (ended - begun < kRealWait) return;
  if (emulator_ != nullptr) emulator_->begin();
  if (trace_ != nullptr)
    trace_->record(fmt::format("parameters of {}", model_.blocks[block]->name()), "wait", begun, ended);
}

at::Tensor BlockWalker::run_block(std::size_t block, const at::Tensor& input) const {
  return model_.blocks[block]->forward(input, store_.parameters(block));
}

/// Runs the block with its graph cut at its input. Nothing before the first block wants a gradient.
BlockWalker::Kept BlockWalker::keep(std::size_t block, const at::Tensor& input, bool with_graph) const {
  Kept kept{input.detach(), {}};
  if (with_graph) {
    if (block > 0) kept.input.requires_grad_(true);
    kept.output = run_block(block, kept.input);
  }
  return kept;
}

std::vector<BlockWalker::Kept> BlockWalker::forward_blocks(const at::Tensor& input) {
  const std::size_t blocks = model_.blocks.size();
  std::vector<Kept> kept;
  kept.reserve(blocks);
  at::Tensor x = input;
  for (std::size_t block = 0; block < blocks; ++block) {
    acquire(block);
    compute("forward", block, [&] {
      // The last block's backward follows at once: to run its forward twice would save nothing.
      const bool with_graph = !options_.recompute || block + 1 == blocks;
      kept.push_back(keep(block, x, with_graph));
      if (with_graph) {
        x = kept.back().output.detach();
      } else {
        const c10::NoGradGuard no_grad;
        x = run_block(block, x);
        put_away(block, kept.back());
      }
    });
    store_.release(block);
  }
  return kept;
}

double BlockWalker::backward_blocks(std::vector<Kept> kept, const at::Tensor& target, bool last) {
  at::Tensor loss;
  at::Tensor gradient;  // of the loss by the output of the block in hand
  for (std::size_t block = model_.blocks.size(); block-- > 0;) {
    acquire(block);
    compute("backward", block, [&] {
      Kept mine = std::move(kept[block]);
      bring_back(block, mine);
      if (!mine.output.defined()) mine = keep(block, mine.input, true);
      at::Tensor output = std::move(mine.output);
      if (block + 1 == model_.blocks.size()) {
        output = model::summed_cross_entropy(output, target, options_.label_smoothing);
        loss = output.detach();
        if (const double scale = store_.backward_scale(); scale != 1) gradient = at::full_like(output, scale);
      }
      gradient = backward_block(block, mine, output, gradient, last);
      kept[block] = {};
    });
    store_.release(block);
  }
  // Only now: a device would stand idle while this thread waited for it in between.
  const double value = loss.item<double>();
  count_stretches();
  return value;
}

/// What recomputation needs of forward; the first block's input stays, it is the data.
void BlockWalker::put_away(std::size_t block, Kept& kept) {
  if (!host_inputs_ || block == 0) return;
  host_inputs_->put(block, kept.input);
  kept.input.reset();
}

void BlockWalker::bring_back(std::size_t block, Kept& kept) {
  if (!host_inputs_) return;
  if (!kept.input.defined()) kept.input = host_inputs_->take(block);
  if (block > 1) host_inputs_->prefetch(block - 1);
}

/// Hands the gradients of the block's parameters to the store and returns that of its input.
at::Tensor BlockWalker::backward_block(std::size_t block, const Kept& kept, const at::Tensor& output,
                                       const at::Tensor& output_gradient, bool last) {
  const std::span<const at::Tensor> parameters = store_.parameters(block);
  std::vector<at::Tensor> inputs(parameters.begin(), parameters.end());
  if (block > 0) inputs.push_back(kept.input);
  std::vector<at::Tensor> output_gradients;
  if (output_gradient.defined()) output_gradients.push_back(output_gradient);
  std::vector<at::Tensor> gradients = torch::autograd::grad({output}, inputs, output_gradients);
  store_.add_gradient(block, std::span(gradients).first(parameters.size()), last);
  return block > 0 ? gradients.back() : at::Tensor();
}

void BlockWalker::compute(const char* phase, std::size_t block, const std::function<void()>& work) {
  const Moment begun = device_->now();
  work();
  if (emulator_ != nullptr) emulator_->pay();
  stretches_.push_back({phase, block, begun, device_->now()});
}

/// When the device has done them.
void BlockWalker::count_stretches() {
  stretches_.back().ended.wait();
  for (const Stretch& stretch : stretches_) {
    const double begun = stretch.begun.seconds(), ended = stretch.ended.seconds();
    compute_seconds_ += ended - begun;
    if (trace_ == nullptr || !trace_->enabled()) continue;
    trace_->record(fmt::format("{} {}", stretch.phase, model_.blocks[stretch.block]->name()), "compute", begun, ended);
  }
  stretches_.clear();
}

}  // namespace lshdp::parallel
