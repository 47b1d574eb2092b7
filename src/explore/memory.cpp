// Adds up a stage's memory.
#include "lshdp/explore/memory.h"

#include <algorithm>
#include <stdexcept>

#include "lshdp/explore/parameters.h"
#include "stage_memory.h"

namespace lshdp::explore {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

double number(std::int64_t value) { return static_cast<double>(value); }

/// Bytes of buffers a parameter of the largest unit. Fully sharded, a unit is computed with while the next is gathered;
/// the gradients of one are summed while the next's are made (arXiv 2304.11277, section 3.4). Otherwise weights stay,
/// and gradients have a place of their own unless they are shared out. What is in host memory passes through the same
/// buffers, on one device as well (arXiv 2104.07857, section 6.2: a layer is fetched while the one before computes).
double unit_bytes(const Trainer& trainer, const Layout& layout) {
  const bool alone = layout.data() == 1;
  double bytes = 0;
  if (layout.sharding == Sharding::fully_shard && (!alone || layout.offload == Offload::parameters))
    bytes += 2 * bytes_of(trainer.param_dtype);
  if (layout.sharding >= Sharding::optimizer_states_and_grads && (!alone || layout.offload != Offload::none))
    bytes += 2 * bytes_of(trainer.grad_dtype);
  return bytes;
}

/// Autograd makes a tensor's gradient whole before it adds it up, which matters where tensors are large: those of
/// embedding and head (accumulate_grad.h of PyTorch). Float32 sums beside 16-bit gradients take a float32 copy of it
/// (DeepSpeed, BF16_Optimizer.update_hp_grads). Fully sharded, gradients of units are buffers already.
double table_bytes(const Trainer& trainer, const Layout& layout) {
  if (layout.sharding == Sharding::fully_shard) return 0;
  const bool separate = trainer.param_dtype == DataType::float16 && trainer.separate_accumulators;
  return bytes_of(trainer.param_dtype) + (separate ? bytes_of(DataType::float32) : 0);
}

double buckets(const Trainer& trainer, const Layout& layout) {
  const Framework& framework = trainer.framework;
  const bool gathers = layout.data() > 1 && layout.sharding != Sharding::no_op;
  return number(framework.reduce_bucket_elements) * bytes_of(trainer.grad_dtype) +
         (gathers ? number(framework.gather_bucket_elements) * bytes_of(trainer.param_dtype) : 0);
}

/// Groups of more than one device, each of which has a communicator.
double communicators(const Layout& layout) {
  const std::int64_t sizes[] = {layout.tensor, layout.expert, layout.pipeline, layout.context, layout.data()};
  return number(std::ranges::count_if(sizes, [](std::int64_t size) { return size > 1; }));
}

StageParameters parameters_of(const Model& model, const Layout& layout, const Stage& stage) {
  const LayerParameters dense = layer_parameters(model, false, layout.tensor, layout.expert);
  const LayerParameters expert =
      model.has_experts() ? layer_parameters(model, true, layout.tensor, layout.expert) : LayerParameters();
  StageParameters sum;
  const auto add = [&](double shared, double experts, std::int64_t times) {
    if (times == 0) return;
    sum.dense += shared * number(times);
    sum.expert += experts * number(times);
    sum.largest_unit = std::max(sum.largest_unit, shared + experts);
  };
  const bool has_embedding = std::ranges::any_of(stage, &Chunk::has_embedding);
  for (const Chunk& chunk : stage) {
    add(number(dense.dense()), 0, chunk.dense_layers);
    add(number(expert.dense()), number(expert.experts), chunk.expert_layers);
    const double embedding = number(embedding_parameters(model, layout.tensor));
    const double head = number(head_parameters(model, layout.tensor, has_embedding));
    if (chunk.has_embedding) add(embedding, 0, 1);
    if (chunk.has_head) add(head, 0, 1);
    sum.table = std::max({sum.table, chunk.has_embedding ? embedding : 0, chunk.has_head ? head : 0});
  }
  return sum;
}

/// What one micro-batch keeps in a chunk.
StageActivations kept_in(const Chunk& chunk, const MicroBatchActivations& bytes) {
  StageActivations kept;
  kept.expert = number(chunk.expert_layers) * bytes.kept.moe;
  kept.practice_expert = number(chunk.expert_layers) * bytes.kept.practice_moe;
  kept.other = number(chunk.layers()) * bytes.kept.attention + number(chunk.dense_layers) * bytes.kept.mlp;
  if (chunk.has_embedding) kept.other += bytes.embedding;
  return kept;
}

/// Activations of all chunks at one moment.
StageActivations kept_at(const InFlight& moment, const std::vector<StageActivations>& chunks) {
  StageActivations sum;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const double times = number(moment[chunk]);
    sum.expert += times * chunks[chunk].expert;
    sum.practice_expert += times * chunks[chunk].practice_expert;
    sum.other += times * chunks[chunk].other;
  }
  return sum;
}

double kept_bytes(const StageActivations& kept) { return kept.practice_expert + kept.other; }

}  // namespace

std::vector<StageParameters> stage_parameters(const Model& model, const Layout& layout,
                                              const std::vector<Stage>& stages) {
  std::vector<StageParameters> parameters;
  for (const Stage& stage : stages) parameters.push_back(parameters_of(model, layout, stage));
  return parameters;
}

MicroBatchActivations micro_batch_activations(const Model& model, const Trainer& trainer, const Layout& layout) {
  MicroBatchActivations bytes;
  bytes.layer = layer_activations(model, trainer, layout);
  bytes.kept = kept_activations(model, trainer, layout, bytes.layer);
  bytes.embedding = embedding_activations(model, layout);
  bytes.head = head_activations(model, trainer, layout);
  bytes.loss = loss_activations(model, trainer, layout);
  bytes.dense_working_set = working_set(model, trainer, layout, bytes.layer, false);
  if (model.has_experts()) bytes.expert_working_set = working_set(model, trainer, layout, bytes.layer, true);
  bytes.buffers = communication_buffers(model, trainer, layout);
  return bytes;
}

StageActivations stage_activations(const Stage& stage, const std::vector<InFlight>& moments,
                                   const MicroBatchActivations& bytes) {
  std::vector<StageActivations> chunks;
  StageActivations sum;
  double working_set = 0;
  bool has_head = false;
  for (const Chunk& chunk : stage) {
    chunks.push_back(kept_in(chunk, bytes));
    has_head = has_head || chunk.has_head;
    if (chunk.dense_layers > 0) working_set = std::max(working_set, bytes.dense_working_set);
    if (chunk.expert_layers > 0) working_set = std::max(working_set, bytes.expert_working_set);
  }
  for (const InFlight& moment : moments) {
    const StageActivations kept = kept_at(moment, chunks);
    if (kept_bytes(kept) > kept_bytes(sum)) sum = kept;
  }
  // Only one micro-batch is ever between head and loss, and no layer runs backward then.
  if (has_head) {
    sum.other += bytes.head;
    sum.loss = bytes.loss;
  }
  sum.working_set = std::max(working_set - sum.loss, 0.0);
  sum.buffers = bytes.buffers;
  return sum;
}

SharedOut::SharedOut(const Trainer& trainer, const Layout& layout)
    : dense(bytes_per_parameter(trainer, layout.sharding, number(layout.data()), layout.offload)),
      // Ranks that hold the same experts are fewer: EP lies within DP.
      expert(bytes_per_parameter(trainer, layout.sharding, number(layout.data() / layout.expert), layout.offload)),
      dense_bytes(dense.sum()),
      expert_bytes(expert.sum()),
      unit_bytes(explore::unit_bytes(trainer, layout)),
      table_bytes(explore::table_bytes(trainer, layout)),
      buckets(explore::buckets(trainer, layout)),
      context(kGiB * (trainer.framework.context_gib + trainer.framework.communicator_gib * communicators(layout))),
      fragmentation(trainer.framework.fragmentation) {
  if (layout.offload == Offload::none) return;
  const double ranks = number(layout.data()), of_experts = number(layout.data() / layout.expert);
  dense_host_bytes = host_bytes_per_parameter(trainer, ranks, layout.offload).sum();
  expert_host_bytes = host_bytes_per_parameter(trainer, of_experts, layout.offload).sum();
}

StageMemory stage_memory(std::int64_t stage, const SharedOut& shared, const StageParameters& parameters,
                         const StageActivations& activations) {
  StageMemory memory;
  memory.stage = stage;
  memory.dense_parameters = parameters.dense;
  memory.expert_parameters = parameters.expert;
  const auto states = [&](double BytesPerParameter::*part) {
    return parameters.dense * shared.dense.*part + parameters.expert * shared.expert.*part;
  };
  memory.weights = states(&BytesPerParameter::weights);
  memory.gradients = states(&BytesPerParameter::gradients);
  memory.master = states(&BytesPerParameter::master);
  memory.moments = states(&BytesPerParameter::moments);
  memory.expert_activations = activations.expert;
  memory.practice_expert_activations = activations.practice_expert;
  memory.other_activations = activations.other;
  memory.loss = activations.loss;
  memory.working_set = activations.working_set;
  memory.buffers = activations.buffers + shared.buffers(parameters);
  memory.context = shared.context;
  memory.host = shared.host(parameters);
  memory.margin = shared.fragmentation * (memory.practice_activations() + memory.working_set + memory.buffers);
  return memory;
}

Memory estimate(const Model& model, const Trainer& trainer, const Layout& layout) {
  if (const auto refusal = refusal_of(model, layout))
    throw std::logic_error("estimate() of a layout that cannot be: " + std::string(describe(*refusal)));
  const std::vector<Stage> stages = cut_into_stages(model, layout);
  const std::vector<StageParameters> parameters = stage_parameters(model, layout, stages);
  const MicroBatchActivations bytes = micro_batch_activations(model, trainer, layout);
  const SharedOut shared(trainer, layout);
  Memory memory{.loss = bytes.loss, .mlp = bytes.layer.mlp, .moe = bytes.layer.practice_moe};
  const std::int64_t micro_batches =
      std::min(layout.micro_batches(model), enough_micro_batches(layout.pipeline, layout.interleaving));
  for (std::int64_t stage = 0; stage < layout.pipeline; ++stage) {
    const auto moments = worst_moments(layout.pipeline, layout.interleaving, micro_batches, stage);
    const auto at = static_cast<std::size_t>(stage);
    memory.stages.push_back(stage_memory(stage, shared, parameters[at], stage_activations(stages[at], moments, bytes)));
  }
  const auto worst = std::ranges::max_element(memory.stages, {}, &StageMemory::total_with_margin);
  memory.worst = static_cast<std::size_t>(worst - memory.stages.begin());
  return memory;
}

double node_host_bytes(std::span<const double> by_stage, const Layout& layout, std::int64_t devices_per_node) {
  const std::int64_t a_stage = layout.devices / layout.pipeline;
  double most = 0;
  for (std::int64_t first = 0; first < layout.devices; first += std::max(a_stage, devices_per_node)) {
    // Where a stage is at least a node, some node is all of it; otherwise this node has devices [first, end).
    const std::int64_t end = std::min(first + devices_per_node, layout.devices);
    double bytes = 0;
    for (std::int64_t stage = first / a_stage; stage < layout.pipeline && stage * a_stage < end; ++stage) {
      const std::int64_t of_stage = std::min(end, (stage + 1) * a_stage) - std::max(first, stage * a_stage);
      bytes += number(of_stage) * by_stage[static_cast<std::size_t>(stage)];
    }
    most = std::max(most, bytes);
  }
  return most;
}

double bubble_rate(const Model& model, const Layout& layout) {
  return number(layout.pipeline - 1) / number(layout.interleaving * layout.micro_batches(model));
}

}  // namespace lshdp::explore
