// Steps of data parallel layouts by the step model, and of all others from simulated replicas and their exchanges.
#include "layout_cost.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "lshdp/plan/link_shares.h"
#include "lshdp/plan/other_ranks.h"
#include "lshdp/plan/solver.h"
#include "step_model.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kNormBytes = 8;

// Data parallel.

std::vector<const Replica*> by_rank(const Layout& layout) {
  std::vector<const Replica*> replicas;
  for (const Replica& replica : layout.replicas) replicas.push_back(&replica);
  std::ranges::sort(replicas, {}, [](const Replica* replica) { return replica->stages.front().rank; });
  return replicas;
}

/// The ranks of the layout alone. With all of them nothing is carried over, and nothing rounded.
Profile profile_of(const Profile& profile, const std::vector<const Replica*>& replicas) {
  if (replicas.size() == profile.ranks.size()) return profile;
  std::vector<std::size_t> ranks;
  for (const Replica* replica : replicas) ranks.push_back(rank_of(replica->stages.front()));
  return on_other_ranks(profile, ranks);
}

/// With shards of these weights. By rank of `profile`, whose ranks are those of `replicas`.
LayoutStep step_with_shards(const Profile& profile, const std::vector<const Replica*>& replicas,
                            const ShardWeights& shards) {
  const StepModel model(profile, shards);
  LayoutStep step;
  double slowest = 0;
  for (std::size_t r = 0; r < replicas.size(); ++r) {
    const SplitTime time = split_time(TimeCurve(profile.ranks[r]), model.wire(), replicas[r]->micro_batches);
    slowest = std::max({slowest, time.seconds + model.fixed_seconds[r], time.network});
    step.compute_seconds.push_back(time.seconds + model.update_seconds[r]);
  }
  step.seconds = model.step_seconds(slowest);
  step.network_seconds = model.wire_seconds;
  step.bound_by_network = model.wire_seconds > std::ranges::max(step.compute_seconds);
  return step;
}

// Replicas of stages.

struct StagePlace {
  std::size_t replica = 0, stage = 0;
};

/// Consecutive blocks that the same stages hold.
struct SharedBlocks {
  BlockRange range;
  std::vector<StagePlace> holders;
};

std::vector<SharedBlocks> shared_blocks(const Layout& layout) {
  std::set<std::size_t> ends;
  for (const Replica& replica : layout.replicas) {
    for (const Stage& stage : replica.stages) ends.insert(stage.end);
  }
  std::vector<SharedBlocks> shared;
  std::vector<std::size_t> stages(layout.replicas.size(), 0);
  std::size_t start = 0;
  for (const std::size_t end : ends) {
    SharedBlocks blocks{{start, end}, {}};
    for (std::size_t replica = 0; replica < layout.replicas.size(); ++replica) {
      blocks.holders.push_back({replica, stages[replica]});
      if (layout.replicas[replica].stages[stages[replica]].end == end) ++stages[replica];
    }
    shared.push_back(std::move(blocks));
    start = end;
  }
  return shared;
}

/// Of all parameters.
double share_of(const PipelineCost& cost, BlockRange range) {
  return static_cast<double>(cost.blocks().parameters(range)) /
         static_cast<double>(std::max<std::int64_t>(1, cost.profile().parameter_count));
}

/// The exchange of the gradients and parameters of some blocks.
struct Exchange {
  std::vector<std::size_t> ranks;
  double ready = 0;     // when it can begin
  double deadline = 0;  // in the next step
  double seconds = 0;
};

Exchange exchange_of(const PipelineCost& cost, const Layout& layout, const std::vector<ReplicaStep>& replicas,
                     const SharedBlocks& blocks) {
  const Profile& profile = cost.profile();
  Exchange exchange;
  for (const StagePlace& place : blocks.holders) {
    const StageWindow& window = replicas[place.replica].windows[place.stage];
    const bool first = exchange.ranks.empty();
    exchange.ranks.push_back(rank_of(layout.replicas[place.replica].stages[place.stage]));
    exchange.ready = std::max(exchange.ready, window.last_backward_begin);
    exchange.deadline = first ? window.first_forward_end : std::min(exchange.deadline, window.first_forward_end);
  }
  const double bytes =
      share_of(cost, blocks.range) * static_cast<double>(profile.gradient_bytes / 2 + profile.parameter_bytes / 2);
  exchange.seconds =
      all_reduce_seconds(network_of(profile, exchange.ranks), exchange.ranks.size(), static_cast<std::int64_t>(bytes));
  return exchange;
}

/// What a step is to each rank of the profile.
struct RankLoad {
  bool used = false;
  double begin = 0, end = 0;  // of its work
  double compute = 0, transfers = 0, messages = 0, exchanges = 0;
};

/// Bytes a rank sends and receives in the exchange of its blocks, each held by `holders` ranks.
double exchanged_bytes(const PipelineCost& cost, BlockRange range, std::size_t holders) {
  const Profile& profile = cost.profile();
  const auto others = static_cast<double>(holders - 1) / static_cast<double>(holders);
  return 2 * others * share_of(cost, range) * static_cast<double>(profile.gradient_bytes + profile.parameter_bytes);
}

void add_stage(const PipelineCost& cost, const Stage& stage, const StageWindow& window, double busy,
               std::size_t holders, RankLoad& load) {
  const auto parameters = static_cast<double>(cost.blocks().parameters(range_of(stage)));
  const double update = cost.update_seconds(rank_of(stage), parameters / static_cast<double>(holders));
  load.begin = load.used ? std::min(load.begin, window.first_begin) : window.first_begin;
  load.end = std::max(load.end, window.end);
  load.used = true;
  load.compute += busy + update;
  load.transfers += cost.transfer_seconds(rank_of(stage), exchanged_bytes(cost, range_of(stage), holders)) + update;
}

std::vector<RankLoad> loads_of(const PipelineCost& cost, const Layout& layout,
                               const std::vector<ReplicaStep>& replicas) {
  std::vector<RankLoad> loads(cost.profile().ranks.size());
  for (std::size_t q = 0; q < layout.replicas.size(); ++q) {
    const Replica& replica = layout.replicas[q];
    for (std::size_t s = 0; s < replica.stages.size(); ++s) {
      const std::size_t rank = rank_of(replica.stages[s]);
      add_stage(cost, replica.stages[s], replicas[q].windows[s], replicas[q].busy[s], layout.replicas.size(),
                loads[rank]);
      const double rate = cost.link_rate(rank);
      if (rate > 0) loads[rank].messages = cost.message_bytes(replica, rank) / rate;
    }
  }
  return loads;
}

/// How long the step must be for the exchanges to be done in time, one after the other on each rank's link.
double exchanges_seconds(std::vector<Exchange> exchanges, std::vector<RankLoad>& loads) {
  std::ranges::stable_sort(exchanges, {}, &Exchange::ready);
  std::vector<double> link_free(loads.size(), 0.0);
  double seconds = 0;
  for (const Exchange& exchange : exchanges) {
    double begin = exchange.ready;
    for (const std::size_t rank : exchange.ranks) begin = std::max(begin, link_free[rank]);
    for (const std::size_t rank : exchange.ranks) {
      link_free[rank] = begin + exchange.seconds;
      loads[rank].exchanges += exchange.seconds;
    }
    seconds = std::max(seconds, begin + exchange.seconds - exchange.deadline);
  }
  return seconds;
}

/// Of the first blocks' gradients, and of one number for the norm.
double boundary_seconds(const PipelineCost& cost, const Exchange& first) {
  const NetworkProfile network = network_of(cost.profile(), first.ranks);
  return cost.profile().network.exposed_factor *
         all_reduce_seconds(network, first.ranks.size(), cost.profile().exposed_bytes);
}

double norm_seconds(const PipelineCost& cost, const std::vector<RankLoad>& loads) {
  std::vector<std::size_t> used;
  for (std::size_t rank = 0; rank < loads.size(); ++rank) {
    if (loads[rank].used) used.push_back(rank);
  }
  return all_reduce_seconds(network_of(cost.profile(), used), used.size(), kNormBytes);
}

}  // namespace

LayoutStep data_parallel_step(const Profile& profile, const Layout& layout) {
  const std::vector<const Replica*> replicas = by_rank(layout);
  const Profile own = profile_of(profile, replicas);
  const ShardWeights unequal = shard_weights(own);
  LayoutStep step = step_with_shards(own, replicas, unequal);
  if (!unequal.empty()) {
    LayoutStep equal = step_with_shards(own, replicas, {});
    if (!worth_unequal_shards(step.seconds, equal.seconds)) step = std::move(equal);
  }
  std::vector<double> compute(profile.ranks.size(), 0.0);
  for (std::size_t r = 0; r < replicas.size(); ++r)
    compute[rank_of(replicas[r]->stages.front())] = step.compute_seconds[r];
  step.compute_seconds = std::move(compute);
  return step;
}

LayoutStep pipeline_step(const PipelineCost& cost, const Layout& layout, const std::vector<ReplicaStep>& replicas) {
  std::vector<RankLoad> loads = loads_of(cost, layout, replicas);
  std::vector<Exchange> exchanges;
  for (const SharedBlocks& blocks : shared_blocks(layout))
    exchanges.push_back(exchange_of(cost, layout, replicas, blocks));
  const double boundary = boundary_seconds(cost, exchanges.front());
  double network = exchanges_seconds(std::move(exchanges), loads);
  double work = 0;
  LayoutStep step;
  for (const ReplicaStep& replica : replicas) work = std::max(work, replica.seconds);
  for (const RankLoad& load : loads) {
    work = std::max(work, load.end - load.begin + load.transfers);
    step.network_seconds = std::max(step.network_seconds, load.messages + load.exchanges);
    step.compute_seconds.push_back(load.compute);
  }
  work += norm_seconds(cost, loads);
  network = std::max(network, step.network_seconds);
  step.seconds = std::max(work, network) + boundary;
  step.bound_by_network = network > work;
  return step;
}

LayoutStep layout_step(const PipelineCost& cost, const Layout& layout) {
  if (is_data_parallel(layout)) return data_parallel_step(cost.profile(), layout);
  std::vector<ReplicaStep> replicas;
  for (const Replica& replica : layout.replicas) replicas.push_back(cost.step(replica, layout.schedule));
  return pipeline_step(cost, layout, replicas);
}

}  // namespace lshdp::plan
