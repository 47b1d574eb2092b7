// The search: loops from what most depends on to what least depends on.
#include "lshdp/explore/search.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "stage_memory.h"
#include "step_clock.h"

namespace lshdp::explore {
namespace {

std::int64_t count(std::size_t values) { return static_cast<std::int64_t>(values); }

class Search {
 public:
  Search(const Model& model, const Trainer& trainer, const SearchSpace& space, const std::optional<Hardware>& hardware,
         const std::function<void(const Candidate&)>& visit)
      : model_(model), trainer_(trainer), space_(space), hardware_(hardware), visit_(visit) {
    counts_.last_refusal.resize(space.devices.size());
  }

  SearchCounts run() {
    for (const std::int64_t tensor : space_.tensor) {
      layout_.tensor = tensor;
      if (refused(refuse_tensor(model_, tensor), space_.size() / count(space_.tensor.size()))) continue;
      for (const std::int64_t expert : space_.expert) {
        layout_.expert = expert;
        if (!refused(refuse_expert(model_, expert), stages_inside() * contexts_inside())) each_cut();
      }
    }
    return counts_;
  }

 private:
  /// Combinations of what the loops below vary.
  std::int64_t data_inside() const {
    return count(space_.recompute.size() * space_.sharding.size() * space_.offload.size());
  }
  std::int64_t devices_inside() const {
    return data_inside() * count(space_.devices.size() * space_.micro_batch.size());
  }
  std::int64_t contexts_inside() const {
    return devices_inside() * count(space_.context.size() * space_.sequence_parallel.size());
  }
  std::int64_t stages_inside() const {
    return count(space_.pipeline.size() * space_.interleaving.size() * space_.layer_split.size());
  }

  /// Counts `combinations` as refused where there is a reason.
  bool refused(std::optional<Refusal> reason, std::int64_t combinations) {
    if (reason) counts_.refused[static_cast<std::size_t>(*reason)] += combinations;
    return reason.has_value();
  }

  void each_cut() {
    for (const std::int64_t pipeline : space_.pipeline) {
      for (const std::int64_t interleaving : space_.interleaving) {
        for (const LayerSplit split : space_.layer_split) {
          layout_.pipeline = pipeline;
          layout_.interleaving = interleaving;
          layout_.layer_split = split;
          if (refused(refuse_stages(model_, layout_), contexts_inside())) continue;
          stages_ = cut_into_stages(model_, layout_);
          parameters_ = stage_parameters(model_, layout_, stages_);
          units_ = unit_parameters(model_, layout_);
          each_context();
        }
      }
    }
  }

  void each_context() {
    for (const std::int64_t context : space_.context) {
      layout_.context = context;
      if (refused(refuse_context(model_, context), devices_inside() * count(space_.sequence_parallel.size()))) continue;
      for (const bool sequence_parallel : space_.sequence_parallel) {
        layout_.sequence_parallel = sequence_parallel;
        if (!refused(refuse_sequence_parallel(model_, layout_), devices_inside())) each_number_of_devices();
      }
    }
  }

  /// Activations depend on the devices only by the number of micro-batches, and no more once there are enough.
  void each_number_of_devices() {
    activations_.clear();
    for (std::size_t at = 0; at < space_.devices.size(); ++at) {
      layout_.devices = space_.devices[at];
      for (const std::int64_t micro_batch : space_.micro_batch) {
        layout_.micro_batch = micro_batch;
        const std::optional<Refusal> reason = refuse_data(model_, layout_);
        counts_.last_refusal[at] = std::max(counts_.last_refusal[at], reason);
        if (!refused(reason, data_inside())) each_recompute(counts_.last_refusal[at]);
      }
    }
  }

  void each_recompute(std::optional<Refusal>& last_refusal) {
    for (const Recompute recompute : space_.recompute) {
      layout_.recompute = recompute;
      const Activations& activations = activations_of_layout();
      for (const Sharding sharding : space_.sharding) {
        layout_.sharding = sharding;
        for (const Offload offload : space_.offload) {
          layout_.offload = offload;
          const std::optional<Refusal> reason = refuse_offload(sharding, offload);
          last_refusal = std::max(last_refusal, reason);
          if (!refused(reason, 1)) emit(activations);
        }
      }
    }
  }

  struct Activations {
    MicroBatchActivations micro_batch;
    std::vector<StageActivations> stages;
    MicroBatchTimes times;        // of these and the next, nothing without hardware
    std::vector<StageWork> work;  // by stage
  };

  /// Micro-batch, recomputation, and micro-batches in flight.
  using ActivationsKey = std::tuple<std::int64_t, Recompute, std::int64_t>;

  const Activations& activations_of_layout() {
    const std::int64_t micro_batches =
        std::min(layout_.micro_batches(model_), enough_micro_batches(layout_.pipeline, layout_.interleaving));
    const auto [found, is_new] =
        activations_.try_emplace(ActivationsKey{layout_.micro_batch, layout_.recompute, micro_batches});
    if (is_new) found->second = compute_activations(micro_batches);
    return found->second;
  }

  Activations compute_activations(std::int64_t micro_batches) {
    Activations activations{micro_batch_activations(model_, trainer_, layout_), {}, {}, {}};
    if (hardware_) {
      activations.times = micro_batch_times(model_, trainer_, *hardware_, layout_);
      activations.work = stage_work(stages_, activations.times);
    }
    const std::vector<std::vector<InFlight>>& moments = moments_of(micro_batches);
    for (std::size_t stage = 0; stage < stages_.size(); ++stage)
      activations.stages.push_back(stage_activations(stages_[stage], moments[stage], activations.micro_batch));
    return activations;
  }

  /// The worst moments of every stage: the schedule's, whatever the model.
  const std::vector<std::vector<InFlight>>& moments_of(std::int64_t micro_batches) {
    const auto [found, is_new] =
        moments_.try_emplace(std::tuple{layout_.pipeline, layout_.interleaving, micro_batches});
    if (is_new) {
      for (std::int64_t stage = 0; stage < layout_.pipeline; ++stage)
        found->second.push_back(worst_moments(layout_.pipeline, layout_.interleaving, micro_batches, stage));
    }
    return found->second;
  }

  void emit(const Activations& activations) {
    const SharedOut shared(trainer_, layout_);
    std::size_t worst = 0;
    double most = 0;
    for (std::size_t stage = 0; stage < parameters_.size(); ++stage) {
      const double total = total_with_margin(shared, parameters_[stage], activations.stages[stage]);
      if (total > most) {
        most = total;
        worst = stage;
      }
    }
    candidate_.layout = layout_;
    candidate_.worst =
        stage_memory(static_cast<std::int64_t>(worst), shared, parameters_[worst], activations.stages[worst]);
    candidate_.loss = activations.micro_batch.loss;
    candidate_.mlp = activations.micro_batch.layer.mlp;
    candidate_.moe = activations.micro_batch.layer.practice_moe;
    if (hardware_) {
      candidate_.time =
          clock_.time({&model_, &trainer_, &*hardware_, &units_, &parameters_, &activations.times, &activations.work},
                      layout_, shared);
      candidate_.node_host = layout_.offload == Offload::none ? 0 : node_host(shared);
    }
    ++counts_.valid;
    visit_(candidate_);
  }

  double node_host(const SharedOut& shared) {
    host_.clear();
    for (const StageParameters& parameters : parameters_) host_.push_back(shared.host(parameters));
    return node_host_bytes(host_, layout_, hardware_->cluster.devices_per_node);
  }

  const Model& model_;
  const Trainer& trainer_;
  const SearchSpace& space_;
  const std::optional<Hardware>& hardware_;
  const std::function<void(const Candidate&)>& visit_;
  SearchCounts counts_;
  Layout layout_;
  std::vector<Stage> stages_;
  std::vector<StageParameters> parameters_;
  UnitParameters units_;
  StepClock clock_;
  std::map<ActivationsKey, Activations> activations_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, std::vector<std::vector<InFlight>>> moments_;
  Candidate candidate_;
  std::vector<double> host_;  // by stage
};

}  // namespace

std::int64_t SearchCounts::all() const { return std::accumulate(refused.begin(), refused.end(), valid); }

SearchCounts search(const Model& model, const Trainer& trainer, const SearchSpace& space,
                    const std::optional<Hardware>& hardware, const std::function<void(const Candidate&)>& visit) {
  return Search(model, trainer, space, hardware, visit).run();
}

}  // namespace lshdp::explore
