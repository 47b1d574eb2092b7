// A step of the block walker with the replicated store, on one rank, in alternation with a plain LibTorch step: the
// same blocks chained without cutting, one backward, the fused AdamW. Limit: a ratio of 1.
#include "lshdp/parallel/walker.h"

#include <memory>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/median.h"
#include "lshdp/core/memory.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/make_store.h"

namespace {

using lshdp::model::Model;
using lshdp::model::SyntheticBatch;
using lshdp::parallel::Update;

constexpr double kLearningRate = 1e-3;
constexpr int kWarmUp = 2;

/// Wall and CPU seconds of single steps.
struct Times {
  std::vector<double> wall, cpu;
};

/// What a training program without blocks would do.
class PlainStep {
 public:
  PlainStep(const Model& model, const SyntheticBatch& batch) : model_(model), batch_(batch) {
    values_ = lshdp::model::initial_values(model, 1);
    for (std::size_t block = 0; block < values_.size(); ++block) {
      for (std::size_t i = 0; i < values_[block].size(); ++i) {
        values_[block][i].requires_grad_(true);
        add(values_[block][i], model.blocks[block]->parameters()[i].decay);
      }
    }
  }

  void operator()() {
    ++step_;
    const at::Tensor output = lshdp::model::summed_cross_entropy(forward(), batch_.target, 0);
    benchmark::DoNotOptimize(output.item<double>());
    const auto gradients =
        torch::autograd::grad({output / static_cast<double>(batch_.target.numel())}, leaves_of(decayed_, plain_));
    update(decayed_, std::vector(gradients.begin(), gradients.begin() + static_cast<std::ptrdiff_t>(decayed_.size())),
           0.01);
    update(plain_, std::vector(gradients.begin() + static_cast<std::ptrdiff_t>(decayed_.size()), gradients.end()), 0);
  }

 private:
  struct State {
    at::Tensor leaf, value, first_moment, second_moment;  // `value` is the leaf's memory, outside of autograd
  };
  void add(const at::Tensor& leaf, bool decay) {
    (decay ? decayed_ : plain_).push_back({leaf, leaf.detach(), at::zeros_like(leaf), at::zeros_like(leaf)});
  }

  at::Tensor forward() const {
    at::Tensor x = batch_.input;
    for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
      std::vector<at::Tensor> parameters = values_[block];
      for (const std::string& name : model_.blocks[block]->borrowed()) {
        const auto owner = model_.owner_of(name);
        parameters.push_back(values_[owner.block][owner.parameter]);
      }
      x = model_.blocks[block]->forward(x, parameters);
    }
    return x;
  }

  static std::vector<at::Tensor> leaves_of(const std::vector<State>& first, const std::vector<State>& second) {
    std::vector<at::Tensor> leaves;
    for (const State& state : first) leaves.push_back(state.leaf);
    for (const State& state : second) leaves.push_back(state.leaf);
    return leaves;
  }

  void update(const std::vector<State>& states, const std::vector<at::Tensor>& gradients, double weight_decay) const {
    const c10::NoGradGuard no_grad;
    std::vector<at::Tensor> values, first, second, steps;
    for (const State& state : states) {
      values.push_back(state.value);
      first.push_back(state.first_moment);
      second.push_back(state.second_moment);
      steps.push_back(at::scalar_tensor(static_cast<double>(step_), at::kFloat));
    }
    at::_fused_adamw_(values, gradients, first, second, {}, steps, kLearningRate, 0.9, 0.999, weight_decay, 1e-8, false,
                      false);
  }

  const Model& model_;
  const SyntheticBatch& batch_;
  lshdp::model::Values values_;
  std::vector<State> decayed_, plain_;
  std::int64_t step_ = 0;
};

/// A step of lshdp, its update included.
class WalkerStep {
 public:
  WalkerStep(const Model& model, const SyntheticBatch& batch)
      : batch_(batch),
        communicator_(lshdp::comm::make_null_communicator(0, 1)),
        store_(lshdp::parallel::make_store(model, *communicator_, {})),
        walker_(model, *store_, {}) {
    store_->set_values(lshdp::model::initial_values(model, 1));
  }

  void operator()() {
    benchmark::DoNotOptimize(
        walker_.train_step({.step = ++step_, .learning_rate = kLearningRate, .global_terms = batch_.target.numel()},
                           batch_.input, batch_.target, {batch_.input.size(0)}));
    store_->synchronize();
  }

 private:
  const SyntheticBatch& batch_;
  std::unique_ptr<lshdp::comm::Communicator> communicator_;
  std::unique_ptr<lshdp::parallel::ParameterStore> store_;
  lshdp::parallel::BlockWalker walker_;
  std::int64_t step_ = 0;
};

template <typename Step>
double timed(Step& step, Times& times) {
  const double begun = lshdp::now_seconds(), cpu = lshdp::process_cpu_seconds();
  step();
  times.wall.push_back(lshdp::now_seconds() - begun);
  times.cpu.push_back(lshdp::process_cpu_seconds() - cpu);
  return times.wall.back();
}

/// Time: a walker's step. Counters: medians of the plain step beside it, in milliseconds, and of walker over plain.
void walker(benchmark::State& state, const nlohmann::json& description, std::int64_t batch_size) {
  at::set_num_threads(static_cast<int>(state.range(0)));
  const Model model = lshdp::model::make_model_from_json(description, "model");
  const SyntheticBatch batch = lshdp::model::synthetic_batch(model.input, batch_size, 1);
  PlainStep plain_step(model, batch);
  WalkerStep walker_step(model, batch);
  for (int i = 0; i < kWarmUp; ++i) {
    plain_step();
    walker_step();
  }
  Times plain, walked;
  for (auto _ : state) {
    timed(plain_step, plain);
    state.SetIterationTime(timed(walker_step, walked));
  }
  state.counters["plain_ms"] = 1e3 * lshdp::median(plain.wall);
  state.counters["walker/plain"] = lshdp::median(walked.wall) / lshdp::median(plain.wall);
  state.counters["cpu_walker/plain"] = lshdp::median(walked.cpu) / lshdp::median(plain.cpu);
  state.SetLabel("limit 1");
}

void threads(benchmark::internal::Benchmark* self) {
  self->ArgName("threads")->Arg(1)->UseManualTime()->MinTime(3)->Unit(benchmark::kMillisecond);
  if (at::get_num_threads() > 1) self->Arg(at::get_num_threads());
}

nlohmann::json vit() {
  return {{"type", "vit"},  {"image_size", 32},  {"channels", 3},   {"patch_size", 4},  {"num_layers", 8},
          {"num_heads", 4}, {"hidden_dim", 256}, {"mlp_dim", 1024}, {"num_classes", 10}};
}

nlohmann::json gpt() {
  return {{"type", "gpt2"}, {"n_layer", 6}, {"n_head", 6}, {"n_embd", 384}, {"n_positions", 128}, {"vocab_size", 8192}};
}

BENCHMARK_CAPTURE(walker, vit, vit(), 16)->Apply(threads);
BENCHMARK_CAPTURE(walker, gpt, gpt(), 4)->Apply(threads);

}  // namespace

int main(int argc, char** argv) {
  lshdp::keep_freed_memory();  // as the program does: it is an advantage of both
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
