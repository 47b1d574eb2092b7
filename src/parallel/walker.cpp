// Forward and backward, one block at a time.
#include "lshdp/parallel/walker.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "host_inputs.h"
#include "layout/bucket_transfer.h"
#include "lshdp/core/activity.h"
#include "lshdp/core/clock.h"

namespace lshdp::parallel {
namespace {

// A shorter wait is the cost of the call: the emulated clock runs on.
constexpr double kRealWait = 200e-6;

bool trains(const model::Block& block) {
  return std::ranges::any_of(block.parameters(), [](const auto& parameter) { return parameter.trainable; });
}

std::size_t first_trained(const model::Model& model) {
  return static_cast<std::size_t>(std::ranges::find_if(model.blocks, [](const auto& block) { return trains(*block); }) -
                                  model.blocks.begin());
}

}  // namespace

Activations::Activations() = default;
Activations::~Activations() = default;
Activations::Activations(Activations&&) noexcept = default;
Activations& Activations::operator=(Activations&&) noexcept = default;

BlockWalker::BlockWalker(const model::Model& model, ParameterAccess& store, const WalkerOptions& options,
                         SpeedEmulator* emulator, Trace* trace)
    : model_(model),
      store_(store),
      options_(options),
      device_(device_or_host(options.device)),
      emulator_(emulator),
      trace_(trace),
      first_trained_(first_trained(model)),
      block_seconds_{std::vector<double>(model.blocks.size()), std::vector<double>(model.blocks.size())} {}

BlockWalker::~BlockWalker() { synchronize_device(*device_); }

double BlockWalker::train_step(const Update& update, const at::Tensor& input, const at::Tensor& target,
                               const std::vector<std::int64_t>& micro_batches, std::int64_t first_sample,
                               const at::Tensor& positions) {
  const std::int64_t samples = input.defined() ? input.size(0) : 0;
  if (std::reduce(micro_batches.begin(), micro_batches.end()) != samples)
    throw std::invalid_argument("micro-batches that are not the samples of the step");
  begin_step(update, std::ssize(micro_batches), input);
  double loss = 0;
  std::int64_t begin = 0;
  for (const std::int64_t size : micro_batches) {
    const bool last = begin + size == samples;
    Activations kept = forward_pass(whole_model(), input.narrow(0, begin, size), first_sample + begin,
                                    model::part_of(positions, begin, size));
    loss += backward_pass(std::move(kept), target.narrow(0, begin, size), last).loss;
    begin += size;
  }
  return loss;
}

void BlockWalker::begin_step(const Update& update, std::int64_t micro_batches, const at::Tensor& input) {
  stretches_.clear();  // of a step that ended with an error
  step_ = update.step;
  note_activity(Doing::forward, step_);
  store_.begin_step(update);
  if (store_.looks_up_rows()) look_up(input);
  const std::int64_t passes = store_.gathers_every_pass() ? update.passes : std::max<std::int64_t>(micro_batches, 1);
  if (micro_batches > passes) throw std::invalid_argument("more micro-batches than passes of the step");
  for (std::int64_t empty = passes - micro_batches; empty > 0; --empty) empty_pass(micro_batches == 0 && empty == 1);
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

void BlockWalker::empty_pass(bool last) {
  empty_forward();
  const bool gathers = store_.gathers_every_pass();
  const std::vector<BlockRange> held = ranges();
  for (auto range = held.rbegin(); range != held.rend(); ++range) {
    for (std::size_t block = range->end; block-- > range->begin;) {
      if (gathers) acquire(block);
      store_.add_gradient(block, {}, last);
      if (gathers) store_.release(block);
    }
  }
}

void BlockWalker::empty_forward() {
  for (const BlockRange& range : ranges()) {
    for (std::size_t block = range.begin; block < range.end; ++block) {
      acquire(block);
      store_.release(block);
    }
  }
}

at::Tensor BlockWalker::forward(const BlockRange& range, const at::Tensor& input, const at::Tensor& positions) {
  const c10::NoGradGuard no_grad;
  const model::Pass pass{.documents = documents_of(positions)};
  at::Tensor x = to_compute_type(device_->upload(input));
  for (std::size_t block = range.begin; block < range.end; ++block) {
    acquire(block);
    note_activity(Doing::evaluating, kSameStep, static_cast<std::int32_t>(block));
    x = run_block(block, x, pass);
    store_.release(block);
  }
  return x;
}

at::Tensor BlockWalker::forward_next(const BlockRange& range, const at::Tensor& input,
                                     std::span<model::BlockCache> caches) {
  const c10::NoGradGuard no_grad;
  at::Tensor x = device_->upload(input);
  for (std::size_t block = range.begin; block < range.end; ++block) {
    acquire(block);
    note_activity(Doing::evaluating, kSameStep, static_cast<std::int32_t>(block));
    x = model_.blocks[block]->forward_next(x, store_.parameters(block), caches[block]);
    store_.release(block);
  }
  return x;
}

Evaluation BlockWalker::judge(const at::Tensor& logits, const at::Tensor& target) const {
  const c10::NoGradGuard no_grad;
  const at::Tensor wanted = device_->upload(target);
  return {model::summed_cross_entropy(logits, wanted, 0).item<double>(), model::correct_predictions(logits, wanted),
          model::count_terms(wanted)};
}

at::Tensor BlockWalker::to_compute_type(const at::Tensor& input) const {
  return input.is_floating_point() ? input.to(compute_type(options_.precision)) : input;
}

model::Documents BlockWalker::documents_of(const at::Tensor& positions) const {
  if (!positions.defined()) return {};
  return model::documents_of(device_->upload(positions), compute_type(options_.precision));
}

void BlockWalker::acquire(std::size_t block) {
  note_activity(Doing::waiting_for_parameters, kSameStep, static_cast<std::int32_t>(block));
  const double begun = now_seconds();
  store_.acquire(block);
  const double ended = now_seconds();
  if (ended - begun < kRealWait) return;
  if (emulator_ != nullptr) emulator_->begin();
  if (trace_ != nullptr)
    trace_->record(fmt::format("parameters of {}", model_.blocks[block]->name()), "wait", begun, ended);
}

at::Tensor BlockWalker::run_block(std::size_t block, const at::Tensor& input, const model::Pass& pass) const {
  return model_.blocks[block]->forward(input, store_.parameters(block), pass);
}

/// Nothing before the data, or before the first parameter that is trained, wants a gradient; but another stage waits
/// for one.
bool BlockWalker::wants_input_gradient(std::size_t block, const BlockRange& range) const {
  return block > 0 && (range.begin > 0 || block > first_trained_);
}

/// Runs the block with its graph cut at its input.
Activations::Block BlockWalker::keep(const Activations& activations, std::size_t block, const at::Tensor& input,
                                     bool with_graph) const {
  Activations::Block kept{input.detach(), {}};
  if (with_graph) {
    if (wants_input_gradient(block, activations.range_)) kept.input.requires_grad_(true);
    kept.output = run_block(block, kept.input, activations.pass_);
  }
  return kept;
}

Activations BlockWalker::forward_pass(const BlockRange& range, const at::Tensor& input, std::int64_t first_sample,
                                      const at::Tensor& positions) {
  if (emulator_ != nullptr) emulator_->begin();
  Activations kept;
  kept.range_ = range;
  kept.pass_ = {.dropout = model::DropoutKey{.seed = options_.seed, .step = step_, .first_sample = first_sample},
                .documents = documents_of(positions)};
  kept.host_inputs_ = take_host_inputs();
  kept.blocks_.reserve(range.end - range.begin);
  at::Tensor x = device_->upload(input);
  if (range.begin == 0) x = store_.looks_up_rows() ? in_rows(x) : to_compute_type(x);
  for (std::size_t block = range.begin; block < range.end; ++block) {
    acquire(block);
    const at::Tensor read = observe_ ? x : at::Tensor();
    compute(Phase::forward, block, [&] {
      // The loss's backward follows at once: to run its block's forward twice would save nothing.
      const bool with_graph = !options_.recompute || gives_loss(block);
      kept.blocks_.push_back(keep(kept, block, x, with_graph));
      if (with_graph) {
        x = kept.blocks_.back().output.detach();
      } else {
        const c10::NoGradGuard no_grad;
        x = run_block(block, x, kept.pass_);
        offload_input(block, kept);
      }
    });
    store_.release(block);
    if (observe_) observe_(block, read, x);
  }
  kept.output_ = std::move(x);
  return kept;
}

BackwardResult BlockWalker::backward_pass(Activations kept, const at::Tensor& given, bool last) {
  if (emulator_ != nullptr) emulator_->begin();
  kept.output_.reset();
  at::Tensor loss;
  at::Tensor gradient;  // of the loss by the output of the block in hand
  const at::Tensor there = device_->upload(given);
  if (!gives_loss(kept.range_.end - 1)) gradient = there;
  for (std::size_t block = kept.range_.end; block-- > kept.range_.begin;) {
    acquire(block);
    compute(Phase::backward, block, [&] {
      reload_input(block, kept);
      Activations::Block mine = std::move(kept.of(block));
      if (!mine.output.defined()) mine = keep(kept, block, mine.input, true);
      at::Tensor output = std::move(mine.output);
      if (gives_loss(block)) {
        output = model::summed_cross_entropy(output, there, options_.label_smoothing);
        loss = output.detach();
        if (const double scale = store_.backward_scale(); scale != 1) gradient = at::full_like(output, scale);
      }
      gradient = backward_block(block, mine, output, gradient, last);
      kept.of(block) = {};
    });
    store_.release(block);
  }
  // Only now: a device would stand idle while this thread waited for it in between.
  const double value = loss.defined() ? loss.item<double>() : 0;
  count_stretches();
  if (kept.host_inputs_) spare_host_inputs_.push_back(std::move(kept.host_inputs_));
  return {value, gradient};
}

std::unique_ptr<HostInputs> BlockWalker::take_host_inputs() {
  if (!options_.offload_activations) return nullptr;
  if (spare_host_inputs_.empty()) return std::make_unique<HostInputs>(*device_, model_.blocks.size());
  std::unique_ptr<HostInputs> spare = std::move(spare_host_inputs_.back());
  spare_host_inputs_.pop_back();
  return spare;
}

/// What recomputation needs of forward; the first block's input stays, it is the data or what was received.
void BlockWalker::offload_input(std::size_t block, Activations& kept) const {
  if (!kept.host_inputs_ || block == kept.range_.begin) return;
  kept.host_inputs_->put(block, kept.of(block).input);
  kept.of(block).input.reset();
}

void BlockWalker::reload_input(std::size_t block, Activations& kept) const {
  if (!kept.host_inputs_) return;
  if (!kept.of(block).input.defined()) kept.of(block).input = kept.host_inputs_->take(block);
  if (block > kept.range_.begin + 1) kept.host_inputs_->prefetch(block - 1);
}

/// Hands the gradients of the block's parameters to the store and returns that of its input, undefined where nobody
/// wants it.
at::Tensor BlockWalker::backward_block(std::size_t block, const Activations::Block& kept, const at::Tensor& output,
                                       const at::Tensor& output_gradient, bool last) {
  const std::span<const at::Tensor> parameters = store_.parameters(block);
  std::vector<at::Tensor> wanted;
  for (const at::Tensor& parameter : parameters) {
    if (parameter.requires_grad()) wanted.push_back(parameter);
  }
  const bool of_input = kept.input.requires_grad();
  if (of_input) wanted.push_back(kept.input);
  if (wanted.empty()) {
    store_.add_gradient(block, {}, last);
    return {};
  }
  std::vector<at::Tensor> output_gradients;
  if (output_gradient.defined()) output_gradients.push_back(output_gradient);
  const std::vector<at::Tensor> found = torch::autograd::grad({output}, wanted, output_gradients);
  std::vector<at::Tensor> gradients(parameters.size());
  for (std::size_t i = 0, next = 0; i < parameters.size(); ++i) {
    if (parameters[i].requires_grad()) gradients[i] = found[next++];
  }
  store_.add_gradient(block, gradients, last);
  return of_input ? found.back() : at::Tensor();
}

void BlockWalker::compute(Phase phase, std::size_t block, const std::function<void()>& work) {
  note_activity(phase == Phase::forward ? Doing::forward : Doing::backward, kSameStep,
                static_cast<std::int32_t>(block));
  const Event begun = device_->record_event();
  work();
  if (emulator_ != nullptr) emulator_->pay();
  stretches_.push_back({phase, block, begun, device_->record_event()});
}

/// When the device has done them.
void BlockWalker::count_stretches() {
  stretches_.back().ended.wait();
  for (const Stretch& stretch : stretches_) {
    const double begun = stretch.begun.seconds(), ended = stretch.ended.seconds();
    const bool forward = stretch.phase == Phase::forward;
    compute_seconds_ += ended - begun;
    (forward ? block_seconds_.forward : block_seconds_.backward)[stretch.block] += ended - begun;
    if (trace_ == nullptr || !trace_->enabled()) continue;
    trace_->record(fmt::format("{} {}", forward ? "forward" : "backward", model_.blocks[stretch.block]->name()),
                   "compute", begun, ended);
  }
  stretches_.clear();
}

}  // namespace lshdp::parallel
