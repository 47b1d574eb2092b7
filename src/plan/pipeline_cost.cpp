// Costs of stages, and the simulated step.
#include "pipeline_cost.h"

#include <algorithm>
#include <map>

#include "time_curve.h"

namespace lshdp::plan {

namespace {

/// A rank that was timed in parts is as fast as its parts.
RankProfile as_if_held(RankProfile rank) {
  if (!rank.curve.empty()) rank.max_batch = std::max(rank.max_batch, rank.curve.back().batch);
  return rank;
}

}  // namespace

PipelineCost::PipelineCost(const Profile& profile, std::int64_t largest)
    : profile_(profile), blocks_(profile, largest) {
  const auto ranks = static_cast<double>(profile.ranks.size());
  const auto parameters = static_cast<double>(profile.parameter_count);
  // What was timed is the update of an equal share.
  for (const RankProfile& rank : profile.ranks) {
    update_seconds_per_parameter_.push_back(parameters > 0 ? rank.update_seconds * ranks / parameters : 0);
    samples_per_second_.push_back(TimeCurve(as_if_held(rank)).best_samples_per_second());
  }
}

double PipelineCost::link_rate(std::size_t rank) const {
  if (profile_.network.bytes_per_second <= 0) return 0;
  const double own = profile_.ranks[rank].link_bytes_per_second;
  return own > 0 ? own : profile_.network.bytes_per_second;
}

double PipelineCost::send_seconds(std::size_t from, std::size_t to, std::size_t cut, std::int64_t samples) const {
  const double rate = std::min(link_rate(from), link_rate(to));
  if (rate <= 0) return 0;
  const auto bytes = static_cast<double>(samples * blocks_.output_bytes(cut - 1));
  return profile_.network.latency_seconds + bytes / rate;
}

double PipelineCost::transfer_seconds(std::size_t rank, double bytes) const {
  const RankProfile& of = profile_.ranks[rank];
  if (of.device != "cpu" || profile_.network.bytes_per_second <= 0) return 0;
  return profile_.network.cpu_seconds_per_byte * bytes / of.cores;
}

PassSeconds PipelineCost::stage_seconds(std::size_t rank, BlockRange range, std::int64_t samples) const {
  PassSeconds seconds = blocks_.times(rank).seconds(range, samples);
  const auto bytes = static_cast<double>(samples * (blocks_.input_bytes(range) + blocks_.sent_bytes(range)));
  const double transfers = transfer_seconds(rank, bytes);
  seconds.forward += transfers;
  seconds.backward += transfers;
  return seconds;
}

double PipelineCost::message_bytes(const Replica& replica, std::size_t rank) const {
  std::int64_t bytes = 0;
  for (const Stage& stage : replica.stages) {
    if (rank_of(stage) == rank) bytes += blocks_.input_bytes(range_of(stage)) + blocks_.sent_bytes(range_of(stage));
  }
  return static_cast<double>(bytes) * static_cast<double>(replica.batch);
}

double PipelineCost::update_seconds(std::size_t rank, double parameters) const {
  return update_seconds_per_parameter_[rank] * parameters;
}

StageTime PipelineCost::stage_time(const Replica& replica, std::size_t stage, std::int64_t samples) const {
  const Stage& at = replica.stages[stage];
  const PassSeconds seconds = stage_seconds(rank_of(at), range_of(at), samples);
  StageTime time{.forward_seconds = seconds.forward, .backward_seconds = seconds.backward, .send_seconds = 0};
  if (stage + 1 < replica.stages.size())
    time.send_seconds = send_seconds(rank_of(at), rank_of(replica.stages[stage + 1]), at.end, samples);
  return time;
}

StageCosts PipelineCost::costs(const Replica& replica) const {
  StageCosts costs;
  for (std::size_t stage = 0; stage < replica.stages.size(); ++stage) {
    std::map<std::int64_t, StageTime> by_size;  // few differ
    std::vector<double> forward, backward, send;
    for (const std::int64_t samples : replica.micro_batches) {
      auto found = by_size.find(samples);
      if (found == by_size.end()) found = by_size.emplace(samples, stage_time(replica, stage, samples)).first;
      forward.push_back(found->second.forward_seconds);
      backward.push_back(found->second.backward_seconds);
      send.push_back(found->second.send_seconds);
    }
    costs.forward_seconds.push_back(std::move(forward));
    costs.backward_seconds.push_back(std::move(backward));
    costs.send_seconds.push_back(std::move(send));
  }
  return costs;
}

ReplicaStep PipelineCost::step(const Replica& replica, PipelineSchedule schedule) const {
  std::vector<std::int64_t> in_flight;
  for (const Stage& stage : replica.stages) in_flight.push_back(stage.in_flight.value());
  ReplicaStep step;
  step.windows.resize(replica.stages.size());
  step.busy.assign(replica.stages.size(), 0.0);
  for (const RankTimeline& timeline : simulate(replica, schedule, in_flight, costs(replica))) {
    for (const TimedWork& timed : timeline.work) {
      StageWindow& window = step.windows[timed.work.stage];
      const bool backward = timed.work.kind == StageWork::Kind::backward;
      if (!backward && timed.work.micro_batch == 0) window.first_begin = timed.begin_seconds;
      if (!backward && timed.work.micro_batch == 0) window.first_forward_end = timed.end_seconds;
      if (backward) window.last_backward_begin = timed.begin_seconds;
      window.end = timed.end_seconds;
      step.busy[timed.work.stage] += timed.end_seconds - timed.begin_seconds;
      step.seconds = std::max(step.seconds, timed.end_seconds);
    }
  }
  return step;
}

}  // namespace lshdp::plan
