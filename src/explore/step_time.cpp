// Adds up a step.
#include "lshdp/explore/step_time.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "host_offload.h"
#include "lshdp/explore/collectives.h"
#include "lshdp/explore/parameters.h"
#include "sizes.h"
#include "step_clock.h"

namespace lshdp::explore {
namespace {

/// What is left over of `comm` seconds behind the `backward` of as many `units`, each unit's after its own.
double left_over(double comm, double backward, double units) {
  return std::max(comm / units, comm - backward * (units - 1) / units);
}

/// The same where each unit's part then goes to the host in its share of `down` seconds, beside the next one's `comm`.
double left_over(double comm, double down, double backward, double units) {
  return std::max(left_over(comm, backward, units) + down / units, left_over(down, backward, units));
}

/// Seconds of collectives of all parameters of a kind, by dense ones and experts.
struct Exchange {
  Transfer dense, expert;
  /// In `messages` pieces.
  double of(double dense_bytes, double expert_bytes, double messages) const {
    double seconds = 0;
    if (dense_bytes > 0) seconds += messages * dense.seconds + dense_bytes * dense.seconds_per_byte;
    if (expert_bytes > 0) seconds += messages * expert.seconds + expert_bytes * expert.seconds_per_byte;
    return seconds;
  }
};

/// The exchanges of one layout's data parallel ranks, and between them and their hosts.
class DataParallel {
 public:
  DataParallel(const StepParts& parts, const Layout& layout, const HostOffload& host)
      : parts_(parts),
        layout_(layout),
        host_(host),
        weight_(bytes_of(parts.trainer->param_dtype)),
        gradient_(bytes_of(parts.trainer->grad_dtype)),
        overlaps_(parts.trainer->framework.overlap_comm) {
    const Hardware& hardware = *parts.hardware;
    const std::int64_t data = layout.data(), cut = layout.tensor * layout.context;
    // Context parallel ranks have the same weights: their gradients are summed with those of DP.
    const Group dense{data * layout.context, layout.tensor};
    const Group expert{data * layout.context / layout.expert, layout.tensor * layout.expert};
    sum_ = {all_gather(hardware, dense), all_gather(hardware, expert)};
    if (layout.sharding == Sharding::no_op) sum_ = {all_reduce(hardware, dense), all_reduce(hardware, expert)};
    gather_ = {all_gather(hardware, {data, cut}), all_gather(hardware, {data / layout.expert, cut * layout.expert})};
  }

  bool alone() const { return layout_.data() * layout_.context == 1 && !host_.is_used(); }

  /// What forward and backward of one micro-batch take longer in a stage.
  StagePass longer(const StageWork& work, const StageParameters& parameters) const {
    if (layout_.sharding == Sharding::fully_shard) return fully_sharded(work);
    if (layout_.sharding == Sharding::optimizer_states_and_grads) return {0, behind_backward(work, parameters), 0};
    return {};
  }

  /// What stands behind the last backward, but for the update.
  double tail(const StageWork& work, const StageParameters& parameters) const {
    if (layout_.sharding == Sharding::fully_shard) return last_gradients(work);
    double seconds = 0;
    if (layout_.sharding != Sharding::optimizer_states_and_grads) seconds += behind_backward(work, parameters);
    if (layout_.sharding != Sharding::no_op)
      seconds += gather_.of(weight_ * parameters.dense, weight_ * parameters.expert, 1);
    return seconds;
  }

 private:
  double sums(const StageWork& work, const StageParameters& parameters) const {
    return sum_.of(gradient_ * parameters.dense, gradient_ * parameters.expert, work.units());
  }

  /// What is left over of the stage's gradients.
  double behind_backward(const StageWork& work, const StageParameters& parameters) const {
    const double summing = sums(work, parameters);
    if (overlaps_ && !host_.is_used()) return left_over(summing, work.pass.backward.seconds(), work.units());
    const double down = host_.gradients(parameters.dense, parameters.expert);
    if (!overlaps_) return summing + down + host_.sums(down);
    return left_over(summing, down, work.pass.backward.seconds(), work.units());
  }

  /// The network's part of a unit, and what the host's link carries up and down for it.
  struct Unit {
    double gather = 0, scatter = 0, up = 0, down = 0;
  };
  Unit unit(double dense, double expert) const {
    Unit unit{gather_.of(weight_ * dense, weight_ * expert, 1), sum_.of(gradient_ * dense, gradient_ * expert, 1)};
    if (host_.is_used()) {
      unit.up = host_.weights(dense, expert);
      unit.down = host_.gradients(dense, expert);
    }
    return unit;
  }
  /// Beyond `times`, the computing that hides it. Network and link work at once, on units one behind the other.
  StagePass beyond(const Unit& unit, const PassTimes& times) const {
    if (!overlaps_) {
      const double up = unit.gather + unit.up;
      return {up, up + host_.sums(unit.down) + unit.scatter + unit.down, 0};
    }
    const double forward = std::max(unit.gather, unit.up);
    const double backward = std::max({unit.gather + unit.scatter, unit.up + host_.sums(unit.down), unit.down});
    return {std::max(0.0, forward - times.forward.seconds()), std::max(0.0, backward - times.backward.seconds()), 0};
  }

  /// The way to the host of the gradients of the last unit, which nothing hides; as long as any unit's.
  double last_gradients(const StageWork& work) const {
    if (!host_.is_used() || !overlaps_) return 0;
    const UnitParameters& units = *parts_.units;
    double longest = 0;
    if (work.dense_layers > 0) longest = std::max(longest, host_.gradients(units.dense_layer, 0));
    if (work.expert_layers > 0) longest = std::max(longest, host_.gradients(units.expert_layer, units.experts));
    if (work.embeddings > 0) longest = std::max(longest, host_.gradients(units.embedding, 0));
    if (work.heads > 0) longest = std::max(longest, host_.gradients(units.head, 0));
    return longest;
  }

  StagePass fully_sharded(const StageWork& work) const {
    const UnitParameters& units = *parts_.units;
    const MicroBatchTimes& times = *parts_.times;
    StagePass longer;
    double first = 0;
    const auto add = [&](double count, const Unit& of, const PassTimes& hides) {
      if (count == 0) return;
      const StagePass one = beyond(of, hides);
      longer.forward += count * one.forward;
      longer.backward += count * one.backward;
      if (overlaps_) first = std::max(first, of.gather + of.up);
    };
    add(work.dense_layers, unit(units.dense_layer, 0), times.dense_layer);
    add(work.expert_layers, unit(units.expert_layer, units.experts), times.expert_layer);
    add(work.embeddings, unit(units.embedding, 0), times.embedding);
    add(work.heads, unit(units.head, 0), times.head);
    return {longer.forward + first, longer.backward + first, 0};
  }

  const StepParts& parts_;
  const Layout& layout_;
  const HostOffload& host_;
  double weight_, gradient_;  // bytes
  bool overlaps_;
  Exchange sum_, gather_;
};

/// Bytes that AdamW reads and writes: gradients twice, once for their norm; master weights and moments in and out; the
/// weights out, and in where they are their own master.
double update_bytes(const BytesPerParameter& bytes, const Trainer& trainer, double owned_share) {
  constexpr double kFloat32 = 4;
  const double weights = owned_share * (bytes.master > 0 ? bytes_of(trainer.param_dtype) : 2 * kFloat32);
  return 2 * bytes_of(trainer.grad_dtype) * owned_share + 2 * bytes.master + 2 * bytes.moments + weights;
}

class Optimizer {
 public:
  Optimizer(const StepParts& parts, const Layout& layout, const SharedOut& shared)
      : bandwidth_(parts.hardware->device.memory_bandwidth * parts.hardware->efficiency.memory) {
    const bool shares = layout.sharding != Sharding::no_op;
    dense_ = update_bytes(shared.dense, *parts.trainer, shares ? 1 / number(layout.data()) : 1);
    expert_ = update_bytes(shared.expert, *parts.trainer, shares ? number(layout.expert) / number(layout.data()) : 1);
  }
  double seconds(const StageParameters& parameters) const {
    return (dense_ * parameters.dense + expert_ * parameters.expert) / bandwidth_;
  }

 private:
  double bandwidth_, dense_ = 0, expert_ = 0;
};

/// Of the shared embedding, between the first and the last stage.
double tied_embedding(const StepParts& parts, const Layout& layout) {
  if (layout.pipeline == 1 || !parts.model->share_embeddings_and_output_weights) return 0;
  const Transfer way = send(*parts.hardware, layout.devices - layout.devices / layout.pipeline);
  return way.of(bytes_of(parts.trainer->grad_dtype) * parts.units->embedding);
}

}  // namespace

UnitParameters unit_parameters(const Model& model, const Layout& layout) {
  UnitParameters units;
  units.dense_layer = number(layer_parameters(model, false, layout.tensor, layout.expert).dense());
  if (model.has_experts()) {
    const LayerParameters expert = layer_parameters(model, true, layout.tensor, layout.expert);
    units.expert_layer = number(expert.dense());
    units.experts = number(expert.experts);
  }
  units.embedding = number(embedding_parameters(model, layout.tensor));
  units.head = number(head_parameters(model, layout.tensor, layout.pipeline == 1));
  return units;
}

std::vector<StageWork> stage_work(const std::vector<Stage>& stages, const MicroBatchTimes& times) {
  std::vector<StageWork> all;
  for (const Stage& stage : stages) {
    StageWork work;
    for (const Chunk& chunk : stage) {
      work.dense_layers += number(chunk.dense_layers);
      work.expert_layers += number(chunk.expert_layers);
      work.embeddings += chunk.has_embedding ? 1 : 0;
      work.heads += chunk.has_head ? 1 : 0;
    }
    const auto add = [&](double count, const PassTimes& part) {
      work.pass.forward += count * part.forward;
      work.pass.backward += count * part.backward;
    };
    add(work.dense_layers, times.dense_layer);
    add(work.expert_layers, times.expert_layer);
    add(work.embeddings, times.embedding);
    add(work.heads, times.head);
    all.push_back(work);
  }
  return all;
}

StepTime step_of(const std::vector<StagePass>& passes, const std::vector<StageEnd>& ends, std::int64_t interleaving,
                 std::int64_t micro_batches) {
  const double m = number(micro_batches), pipeline = pipeline_seconds(passes, interleaving, micro_batches);
  // A stage ends before those in front of it, whose last backwards wait for its own.
  double longest = 0, compute = 0, end = pipeline, last = 0, update = 0;
  for (std::size_t stage = 0; stage < passes.size(); ++stage) {
    const double seconds = passes[stage].forward + passes[stage].backward;
    if (seconds > longest) {
      longest = seconds;
      compute = ends[stage].compute;
    }
    const double behind = end + ends[stage].gradients + ends[stage].optimizer;
    if (behind > last) {
      last = behind;
      update = ends[stage].optimizer;
    }
    end -= passes[stage].backward / number(interleaving) + passes[stage].send;
  }
  StepTime time;
  time.seconds = last;
  time.compute = m * compute;
  time.exchange = m * longest - time.compute;
  time.bubble = pipeline - m * longest;
  time.optimizer = std::min(update, last - pipeline);
  time.gradients = last - pipeline - time.optimizer;
  return time;
}

StepTime StepClock::time(const StepParts& parts, const Layout& layout, const SharedOut& shared) {
  const std::vector<StageWork>& work = *parts.work;
  const std::vector<StageParameters>& parameters = *parts.parameters;
  const HostOffload host(parts, layout);
  const DataParallel exchange(parts, layout, host);
  const Optimizer optimizer(parts, layout, shared);
  double message = 0;
  if (layout.pipeline > 1) {
    const Transfer way = send(*parts.hardware, layout.devices / layout.pipeline);
    message = way.of(parts.times->message_bytes) + parts.times->message_gather;
  }
  passes_.resize(work.size());
  ends_.resize(work.size());
  for (std::size_t stage = 0; stage < work.size(); ++stage) {
    const PassTimes& pass = work[stage].pass;
    const StagePass longer = exchange.alone() ? StagePass{} : exchange.longer(work[stage], parameters[stage]);
    passes_[stage] = {pass.forward.seconds() + longer.forward, pass.backward.seconds() + longer.backward, message};
    ends_[stage] = {
        .compute = pass.forward.compute + pass.backward.compute,
        .gradients = exchange.alone() ? 0 : exchange.tail(work[stage], parameters[stage]),
        .optimizer = host.is_used() ? host.update(parameters[stage]) : optimizer.seconds(parameters[stage])};
  }
  ends_.front().gradients += tied_embedding(parts, layout);
  const std::int64_t micro_batches = parts.model->global_batch_size / (layout.data() * layout.micro_batch);
  StepTime time = step_of(passes_, ends_, layout.interleaving, micro_batches);
  if (host.is_used()) {
    for (const StageParameters& of_stage : parameters)
      time.host_transfers = std::max(time.host_transfers, host.transfers(of_stage, micro_batches));
  }
  return time;
}

StepTime time_of(const Model& model, const Trainer& trainer, const Hardware& hardware, const Layout& layout,
                 StepClock& clock) {
  const std::vector<Stage> stages = cut_into_stages(model, layout);
  const UnitParameters units = unit_parameters(model, layout);
  const std::vector<StageParameters> parameters = stage_parameters(model, layout, stages);
  const MicroBatchTimes times = micro_batch_times(model, trainer, hardware, layout);
  const std::vector<StageWork> work = stage_work(stages, times);
  return clock.time({&model, &trainer, &hardware, &units, &parameters, &times, &work}, layout,
                    SharedOut(trainer, layout));
}

StepTime step_time(const Model& model, const Trainer& trainer, const Hardware& hardware, const Layout& layout) {
  if (const auto refusal = refusal_of(model, layout))
    throw std::logic_error("step_time() of a layout that cannot be: " + std::string(describe(*refusal)));
  StepClock clock;
  return time_of(model, trainer, hardware, layout, clock);
}

double model_flops_per_token(const Model& model) {
  double multiplied = number(active_parameters(model)) - number(embedding_parameters(model, 1));
  if (model.share_embeddings_and_output_weights && !model.vision)
    multiplied += number(model.vocab_size) * number(model.hidden_size);
  const AttentionWidths width = attention_widths(model);
  return 6 * multiplied + 6 * number(model.num_layers) * number(model.seq_length) * (width.query + width.output);
}

double tokens_per_step(const Model& model) { return number(model.global_batch_size) * number(model.seq_length); }

double model_flops_utilization(const Model& model, const Trainer& trainer, const Device& device, const Layout& layout,
                               double seconds) {
  const double possible = number(layout.devices) * device.peak_flops(trainer.param_dtype) * seconds;
  return model_flops_per_token(model) * tokens_per_step(model) / possible;
}

}  // namespace lshdp::explore
