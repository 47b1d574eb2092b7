// Lays models over devices of several types.
#include "lshdp/explore/mixture.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>

#include "mixed_parts.h"

namespace lshdp::explore {
namespace {

class MixedSearch {
 public:
  MixedSearch(const Model& model, const Trainer& trainer, const SearchSpace& space, const Cluster& cluster,
              const Efficiency& efficiency, RankBy by, std::size_t top)
      : model_(model), trainer_(trainer), space_(space), cluster_(cluster), fitting_(top, by), all_(top, by) {
    Cluster links = cluster;
    links.types.clear();
    for (const DeviceType& type : cluster.types) {
      hardware_.push_back({.device = type.device, .cluster = links, .efficiency = efficiency});
      devices_by_type_.push_back(type.devices);
      devices_ += type.devices;
    }
  }

  MixedFound run() {
    for (const std::int64_t tensor : space_.tensor) {
      for (const std::int64_t expert : space_.expert) {
        for (const std::int64_t context : space_.context) {
          for (const bool sequence_parallel : space_.sequence_parallel) {
            Layout layout{.tensor = tensor, .expert = expert, .context = context};
            layout.sequence_parallel = sequence_parallel;
            layout.devices = devices_;
            if (refused(refusal_of_sizes(layout))) continue;
            each_stages(layout);
            each_replicas(layout);
          }
        }
      }
    }
    found_.top = found_.fits + found_.tight > 0 ? fitting_.candidates() : all_.candidates();
    return std::move(found_);
  }

 private:
  std::optional<Refusal> refusal_of_sizes(const Layout& layout) const {
    if (const auto reason = refuse_tensor(model_, layout.tensor)) return reason;
    if (const auto reason = refuse_expert(model_, layout.expert)) return reason;
    if (const auto reason = refuse_context(model_, layout.context)) return reason;
    return refuse_sequence_parallel(model_, layout);
  }

  bool refused(std::optional<Refusal> reason) {
    if (reason) ++found_.refused[std::string(describe(*reason))];
    return reason.has_value();
  }
  /// Counts a combination as refused where `holds` is false.
  bool refused_unless(bool holds, const char* reason) {
    if (!holds) ++found_.refused[reason];
    return !holds;
  }

  bool all_divide(std::int64_t by) const {
    return std::ranges::all_of(cluster_.types, [=](const DeviceType& type) { return type.devices % by == 0; });
  }

  void each_stages(Layout layout) {
    std::int64_t common = 0;
    for (const DeviceType& type : cluster_.types) common = std::gcd(common, type.devices);
    for (std::int64_t data = 1; data <= common / (layout.tensor * layout.context); ++data) {
      const std::int64_t a_stage = layout.tensor * layout.context * data;
      if (!all_divide(a_stage)) continue;
      layout.pipeline = devices_ / a_stage;
      if (refused_unless(layout.pipeline <= space_.pipeline.back(), "stages of one type: PP is beyond pp_range") ||
          refused_unless(layout.pipeline <= model_.num_layers, "stages of one type: fewer layers than PP") ||
          refused_unless(data % layout.expert == 0, "DP is not divisible by EP"))
        continue;
      each_micro_batch(layout, [&](const Layout& one) {
        if (refused_unless(model_.global_batch_size % (data * one.micro_batch) == 0,
                           "global_batch_size is not divisible by DP x micro-batch"))
          return;
        each_order(one);
      });
    }
    if (common < layout.tensor * layout.context)
      refused_unless(false, "stages of one type: devices of a type are not divisible by TP x CP");
  }

  void each_replicas(Layout layout) {
    for (const std::int64_t pipeline : space_.pipeline) {
      layout.pipeline = pipeline;
      const std::int64_t a_replica = layout.tensor * pipeline * layout.context;
      if (refused_unless(all_divide(a_replica), "replicas of one type: its devices are not divisible by TP x PP x CP"))
        continue;
      const bool experts_divide = std::ranges::all_of(
          cluster_.types, [&](const DeviceType& type) { return type.devices / a_replica % layout.expert == 0; });
      if (refused_unless(experts_divide, "replicas of one type: they are not divisible by EP")) continue;
      for (const LayerSplit split : space_.layer_split) {
        layout.layer_split = split;
        if (refused(refuse_stages(model_, layout))) continue;
        each_micro_batch(layout, [&](const Layout& one) {
          if (refused_unless(
                  model_.global_batch_size % one.micro_batch == 0 &&
                      model_.global_batch_size / one.micro_batch >= one.data(),
                  "global_batch_size is not divisible by micro-batch, or has less than one for each replica"))
            return;
          each_setting(one, [&](const Layout& set) { try_replicas(set); });
        });
      }
    }
  }

  template <typename Visit>
  void each_micro_batch(Layout layout, const Visit& visit) {
    for (const std::int64_t micro_batch : space_.micro_batch) {
      layout.micro_batch = micro_batch;
      visit(layout);
    }
  }
  template <typename Visit>
  void each_setting(Layout layout, const Visit& visit) {
    for (const Recompute recompute : space_.recompute) {
      layout.recompute = recompute;
      for (const Sharding sharding : space_.sharding) {
        layout.sharding = sharding;
        visit(layout);
      }
    }
  }

  /// Types along the pipeline, in every order.
  void each_order(const Layout& layout) {
    const std::int64_t a_stage = layout.devices / layout.pipeline;
    std::vector<std::size_t> order(cluster_.types.size());
    std::iota(order.begin(), order.end(), 0);
    do {
      std::vector<std::size_t> types;
      for (const std::size_t type : order)
        types.insert(types.end(), static_cast<std::size_t>(cluster_.types[type].devices / a_stage), type);
      each_setting(layout, [&](const Layout& set) { try_stages(set, types); });
    } while (std::ranges::next_permutation(order).found);
  }

  void try_stages(const Layout& layout, const std::vector<std::size_t>& types) {
    const MixedStages mixed(model_, trainer_, hardware_, layout, types);
    MixedCandidate candidate{.layout = {.spread = Spread::stages, .layout = layout, .types = types}};
    candidate.layout.layers = mixed.layers();
    const std::vector<StageMemory> memory = mixed.memory();
    candidate.types.resize(cluster_.types.size());
    for (std::size_t stage = 0; stage < types.size(); ++stage) {
      StageMemory& worst = candidate.types[types[stage]].worst;
      if (memory[stage].total_with_margin() > worst.total_with_margin()) worst = memory[stage];
    }
    candidate.time = mixed.time();
    offer(candidate);
  }

  void try_replicas(const Layout& layout) {
    const MixedReplicas mixed(model_, trainer_, hardware_, devices_by_type_, layout);
    MixedCandidate candidate{.layout = {.spread = Spread::replicas, .layout = layout}};
    candidate.layout.replicas = mixed.replicas();
    candidate.layout.micro_batches = mixed.micro_batches();
    candidate.layout.at_once = mixed.at_once();
    if (refused_unless(std::ranges::min(candidate.layout.micro_batches) > 0,
                       "replicas of one type: the slowest would get no micro-batch"))
      return;
    for (const StageMemory& worst : mixed.memory()) candidate.types.push_back({.worst = worst});
    candidate.time = mixed.time();
    offer(candidate);
  }

  void offer(MixedCandidate& candidate) {
    candidate.verdict = Verdict::fits;
    for (std::size_t type = 0; type < candidate.types.size(); ++type) {
      TypeMemory& memory = candidate.types[type];
      const Device& device = cluster_.types[type].device;
      memory.verdict = verdict(memory.worst, device);
      candidate.verdict = std::max(candidate.verdict, memory.verdict);
      candidate.fullest =
          std::max(candidate.fullest, memory.worst.total_with_margin() / static_cast<double>(device.memory_bytes));
    }
    ++found_.valid;
    found_.fits += candidate.verdict == Verdict::fits ? 1 : 0;
    found_.tight += candidate.verdict == Verdict::tight ? 1 : 0;
    all_.offer(candidate);
    if (candidate.verdict != Verdict::does_not_fit) fitting_.offer(candidate);
  }

  /// The first candidates. All have the same devices: what is not ranked by time is ranked by memory.
  class TopMixed {
   public:
    TopMixed(std::size_t most, RankBy by) : most_(most), by_(by) {}
    void offer(const MixedCandidate& candidate) {
      if (most_ == 0 || (best_.size() == most_ && !before(candidate, best_.back()))) return;
      const auto place = std::upper_bound(best_.begin(), best_.end(), candidate,
                                          [this](const auto& one, const auto& other) { return before(one, other); });
      best_.insert(place, candidate);
      if (best_.size() > most_) best_.pop_back();
    }
    const std::vector<MixedCandidate>& candidates() const { return best_; }

   private:
    bool before(const MixedCandidate& one, const MixedCandidate& other) const {
      const auto key = [this](const MixedCandidate& of) {
        const std::pair measures{of.time.seconds, of.fullest};
        return std::tuple(by_ == RankBy::time ? measures : std::pair{measures.second, measures.first}, of.layout.spread,
                          of.layout.layout, of.layout.types);
      };
      return key(one) < key(other);
    }
    std::size_t most_;
    RankBy by_;
    std::vector<MixedCandidate> best_;
  };

  const Model& model_;
  const Trainer& trainer_;
  const SearchSpace& space_;
  const Cluster& cluster_;
  std::vector<Hardware> hardware_;  // by type
  std::vector<std::int64_t> devices_by_type_;
  std::int64_t devices_ = 0;
  MixedFound found_;
  TopMixed fitting_, all_;
};

}  // namespace

std::string_view name_of(Spread spread) { return spread == Spread::stages ? "stages" : "replicas"; }

MixedFound search_mixed(const Model& model, const Trainer& trainer, const SearchSpace& space, const Cluster& cluster,
                        RankBy by, std::size_t top, const Efficiency& efficiency) {
  return MixedSearch(model, trainer, space, cluster, efficiency, by, top).run();
}

}  // namespace lshdp::explore
