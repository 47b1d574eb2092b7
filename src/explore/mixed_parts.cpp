// Deals out layers and micro-batches over types of devices.
#include "mixed_parts.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

#include "lshdp/explore/pipeline_time.h"
#include "sizes.h"

namespace lshdp::explore {
namespace {

/// One chunk a stage, of these layers.
std::vector<Stage> stages_of(const Model& model, const std::vector<std::int64_t>& layers) {
  std::vector<Stage> stages;
  std::int64_t layer = 0;
  for (std::size_t stage = 0; stage < layers.size(); ++stage) {
    Chunk chunk{.has_embedding = stage == 0, .has_head = stage + 1 == layers.size()};
    for (const std::int64_t end = layer + layers[stage]; layer < end; ++layer)
      ++(model.is_expert_layer(layer) ? chunk.expert_layers : chunk.dense_layers);
    stages.push_back({chunk});
  }
  return stages;
}

std::int64_t expert_layers(const Model& model) {
  std::int64_t layers = 0;
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) layers += model.is_expert_layer(layer) ? 1 : 0;
  return layers;
}

double both_ways(const PassTimes& times) { return times.forward.seconds() + times.backward.seconds(); }

/// Seconds of a layer in the mean.
double layer_seconds(const Model& model, const MicroBatchTimes& times) {
  const double share = number(expert_layers(model)) / number(model.num_layers);
  return (1 - share) * both_ways(times.dense_layer) + share * both_ways(times.expert_layer);
}

bool has_layer_times(const Hardware& type) { return !type.device.profiled_layers.times.empty(); }

using Load = std::pair<double, std::size_t>;
using Lightest = std::priority_queue<Load, std::vector<Load>, std::greater<>>;

}  // namespace

MixedStages::MixedStages(const Model& model, const Trainer& trainer, const std::vector<Hardware>& types,
                         const Layout& layout, const std::vector<std::size_t>& type_of_stage)
    : model_(model),
      trainer_(trainer),
      types_(types),
      layout_(layout),
      type_of_stage_(type_of_stage),
      shared_(trainer, layout),
      bytes_(micro_batch_activations(model, trainer, layout)),
      layers_(type_of_stage.size(), 1) {
  for (const Hardware& type : types) times_.push_back(micro_batch_times(model, trainer, type, layout));
  deal_out_layers();
}

/// That a stage's memory holds with its margin, if all are of the kind that takes more. At least 1.
std::int64_t MixedStages::most_layers(std::size_t stage) const {
  const auto moments =
      worst_moments(layout_.pipeline, 1, layout_.micro_batches(model_), static_cast<std::int64_t>(stage));
  const auto with = [&](std::int64_t layers, bool experts) {
    Chunk chunk{.has_embedding = stage == 0, .has_head = stage + 1 == layers_.size()};
    (experts ? chunk.expert_layers : chunk.dense_layers) = layers;
    const std::vector<Stage> one{{chunk}};
    return total_with_margin(shared_, stage_parameters(model_, layout_, one).front(),
                             stage_activations(one.front(), moments, bytes_));
  };
  const auto memory = static_cast<double>(types_[type_of_stage_[stage]].device.memory_bytes);
  std::int64_t most = model_.num_layers;
  for (const bool experts : {false, true}) {
    const std::int64_t of_kind = experts ? expert_layers(model_) : model_.num_layers - expert_layers(model_);
    if (of_kind == 0) continue;
    const double one = with(1, experts), more = with(2, experts) - one;
    const double room = std::floor((memory - one) / more);
    most = std::min(most, 1 + static_cast<std::int64_t>(std::clamp(room, 0.0, number(model_.num_layers))));
  }
  return most;
}

void MixedStages::deal_out_layers() {
  std::vector<std::int64_t> most;
  for (std::size_t stage = 0; stage < layers_.size(); ++stage) most.push_back(most_layers(stage));
  // Where memory does not last, layers go by time alone.
  if (std::accumulate(most.begin(), most.end(), std::int64_t{0}) < model_.num_layers)
    std::ranges::fill(most, model_.num_layers);
  std::vector<double> layer, loads;
  for (std::size_t stage = 0; stage < layers_.size(); ++stage) {
    const MicroBatchTimes& times = times_[type_of_stage_[stage]];
    layer.push_back(layer_seconds(model_, times));
    loads.push_back(layer.back());
    if (stage == 0) loads.back() += both_ways(times.embedding);
    if (stage + 1 == layers_.size()) loads.back() += both_ways(times.head);
  }
  Lightest next;  // by the load with one layer more
  const auto offer = [&](std::size_t stage) {
    if (layers_[stage] < most[stage]) next.emplace(loads[stage] + layer[stage], stage);
  };
  for (std::size_t stage = 0; stage < layers_.size(); ++stage) offer(stage);
  for (std::int64_t left = model_.num_layers - std::ssize(layers_); left > 0; --left) {
    const auto [load, stage] = next.top();
    next.pop();
    ++layers_[stage];
    loads[stage] = load;
    offer(stage);
  }
}

std::vector<StageMemory> MixedStages::memory() const {
  const std::vector<Stage> stages = stages_of(model_, layers_);
  const std::vector<StageParameters> parameters = stage_parameters(model_, layout_, stages);
  std::vector<StageMemory> memory;
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    const auto number_of = static_cast<std::int64_t>(stage);
    const auto moments = worst_moments(layout_.pipeline, 1, layout_.micro_batches(model_), number_of);
    memory.push_back(
        stage_memory(number_of, shared_, parameters[stage], stage_activations(stages[stage], moments, bytes_)));
  }
  return memory;
}

StepTime MixedStages::time() const {
  const std::vector<Stage> stages = stages_of(model_, layers_);
  const std::vector<StageParameters> parameters = stage_parameters(model_, layout_, stages);
  const UnitParameters units = unit_parameters(model_, layout_);
  std::vector<StagePass> passes(stages.size());
  std::vector<StageEnd> ends(stages.size());
  // Each type as if all stages were on it, and of that its own stages.
  for (std::size_t type = 0; type < types_.size(); ++type) {
    const std::vector<StageWork> work = stage_work(stages, times_[type]);
    StepClock clock;
    clock.time({&model_, &trainer_, &types_[type], &units, &parameters, &times_[type], &work}, layout_, shared_);
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      if (type_of_stage_[stage] != type) continue;
      passes[stage] = clock.passes()[stage];
      ends[stage] = clock.ends()[stage];
    }
  }
  return step_of(passes, ends, 1, layout_.micro_batches(model_));
}

MixedReplicas::MixedReplicas(const Model& model, const Trainer& trainer, const std::vector<Hardware>& types,
                             const std::vector<std::int64_t>& devices, const Layout& layout)
    : model_(model),
      trainer_(trainer),
      types_(types),
      layout_(layout),
      at_once_(layout.pipeline == 1 && layout.micro_batch == 1 && std::ranges::all_of(types, has_layer_times)),
      shared_(trainer, layout),
      units_(unit_parameters(model, layout)),
      stages_(cut_into_stages(model, layout)),
      parameters_(stage_parameters(model, layout, stages_)),
      passes_(types.size()),
      ends_(types.size()) {
  for (std::size_t type = 0; type < types.size(); ++type) set_times(type, layout.micro_batch);
  for (const std::int64_t of_type : devices)
    replicas_.push_back(of_type / (layout.tensor * layout.pipeline * layout.context));
  deal_out_micro_batches();
}

void MixedReplicas::set_times(std::size_t type, std::int64_t micro_batch) {
  Layout layout = layout_;
  layout.micro_batch = micro_batch;
  // One micro-batch each, to know what it takes.
  Model one = model_;
  one.global_batch_size = layout.data() * micro_batch;
  const MicroBatchTimes times = micro_batch_times(model_, trainer_, types_[type], layout);
  const std::vector<StageWork> work = stage_work(stages_, times);
  StepClock clock;
  clock.time({&one, &trainer_, &types_[type], &units_, &parameters_, &times, &work}, layout, shared_);
  passes_[type] = clock.passes();
  ends_[type] = clock.ends();
}

double MixedReplicas::seconds_of(std::size_t type, std::int64_t micro_batches) {
  if (!at_once_) return pipeline_seconds(passes_[type], 1, micro_batches);
  set_times(type, micro_batches);
  return pipeline_seconds(passes_[type], 1, 1);
}

void MixedReplicas::deal_out_micro_batches() {
  micro_batches_.assign(replicas_.size(), 0);
  Lightest next;  // by the end with one micro-batch more
  const auto offer = [&](std::size_t type) { next.emplace(seconds_of(type, micro_batches_[type] + 1), type); };
  for (std::size_t type = 0; type < replicas_.size(); ++type) offer(type);
  for (std::int64_t left = model_.global_batch_size / layout_.micro_batch; left > 0;) {
    const std::size_t type = next.top().second;
    next.pop();
    ++micro_batches_[type];
    left -= replicas_[type];
    offer(type);
  }
  for (std::size_t type = 0; at_once_ && type < replicas_.size(); ++type) {
    if (micro_batches_[type] > 0) set_times(type, micro_batches_[type]);
  }
}

std::vector<StageMemory> MixedReplicas::memory() const {
  std::vector<StageMemory> memory;
  for (const std::int64_t of_type : micro_batches_) {
    Layout layout = layout_;
    if (at_once_) layout.micro_batch = of_type;
    const std::int64_t micro_batches = at_once_ ? 1 : of_type;
    const MicroBatchActivations bytes = micro_batch_activations(model_, trainer_, layout);
    StageMemory worst;
    for (std::size_t stage = 0; stage < stages_.size(); ++stage) {
      const auto number_of = static_cast<std::int64_t>(stage);
      const auto moments = worst_moments(layout_.pipeline, 1, micro_batches, number_of);
      const StageMemory one =
          stage_memory(number_of, shared_, parameters_[stage], stage_activations(stages_[stage], moments, bytes));
      if (one.total_with_margin() > worst.total_with_margin()) worst = one;
    }
    memory.push_back(worst);
  }
  return memory;
}

StepTime MixedReplicas::time() const {
  StepTime longest;
  double pipeline = 0, behind = 0;
  for (std::size_t type = 0; type < replicas_.size(); ++type) {
    const StepTime time = step_of(passes_[type], ends_[type], 1, at_once_ ? 1 : micro_batches_[type]);
    const double own_behind = time.gradients + time.optimizer;
    if (time.seconds - own_behind > pipeline) {
      pipeline = time.seconds - own_behind;
      longest = time;
    }
    behind = std::max(behind, own_behind);
  }
  longest.seconds = pipeline + behind;
  longest.gradients = behind - longest.optimizer;
  return longest;
}

}  // namespace lshdp::explore
