// Simulates a step and writes down what was when.
#include "lshdp/explore/simulated_step.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

#include "lshdp/core/trace.h"
#include "step_clock.h"

namespace lshdp::explore {
namespace {

/// "forward 3", with its chunk where a stage has several, as stages of a real run are named.
std::string name_of(const plan::StageWork& work, std::size_t stages, std::int64_t interleaving) {
  const char* kind = work.kind == plan::StageWork::Kind::forward ? "forward" : "backward";
  const std::string chunk = interleaving > 1 ? fmt::format(", chunk {}", work.stage / stages) : "";
  return fmt::format("{} micro-batch {}{}", kind, work.micro_batch, chunk);
}

/// What a stage's work sends to the next one, or back.
void record_message(Trace& trace, const plan::TimedWork& timed, const StagePass& stage, std::size_t pieces) {
  const bool forward = timed.work.kind == plan::StageWork::Kind::forward;
  const bool sends = forward ? timed.work.stage + 1 < pieces : timed.work.stage > 0;
  if (!sends || stage.send == 0) return;
  trace.record(fmt::format("send {} {}", forward ? "activations" : "gradients", timed.work.micro_batch),
               "communication", timed.end_seconds, timed.end_seconds + stage.send);
}

}  // namespace

SimulatedStep simulate_step(const Model& model, const Trainer& trainer, const Hardware& hardware,
                            const Layout& layout) {
  if (const auto refusal = refusal_of(model, layout))
    throw std::logic_error("simulate_step() of a layout that cannot be: " + std::string(describe(*refusal)));
  StepClock clock;
  time_of(model, trainer, hardware, layout, clock);
  SimulatedStep step;
  step.stages = clock.passes();
  step.timelines = simulate_pipeline(step.stages, layout.interleaving, layout.micro_batches(model));
  for (std::size_t stage = 0; stage < step.stages.size(); ++stage) {
    step.gradients.push_back(clock.ends()[stage].gradients);
    step.optimizer.push_back(clock.ends()[stage].optimizer);
    const double end = step.timelines[stage].work.back().end_seconds;
    step.seconds = std::max(step.seconds, end + step.gradients.back() + step.optimizer.back());
  }
  return step;
}

SimulatedCluster simulate_cluster(const std::vector<SimulatedReplica>& replicas, std::int64_t interleaving,
                                  const std::vector<double>& gradients, const std::vector<double>& optimizer) {
  SimulatedCluster cluster;
  cluster.exchange_begin.assign(gradients.size(), 0);
  for (const SimulatedReplica& replica : replicas) {
    cluster.replicas.push_back(simulate_pipeline(replica.stages, interleaving, replica.micro_batches));
    for (std::size_t stage = 0; stage < gradients.size(); ++stage) {
      const double end = cluster.replicas.back()[stage].work.back().end_seconds;
      cluster.exchange_begin[stage] = std::max(cluster.exchange_begin[stage], end);
    }
  }
  for (std::size_t stage = 0; stage < gradients.size(); ++stage)
    cluster.seconds = std::max(cluster.seconds, cluster.exchange_begin[stage] + gradients[stage] + optimizer[stage]);
  return cluster;
}

Json simulated_trace(const Settings& settings, const Layout& layout) {
  const SimulatedStep step = simulate_step(settings.model, settings.trainer, *settings.hardware(), layout);
  const std::size_t stages = step.stages.size();
  Json events = Json::array();
  for (std::size_t stage = 0; stage < stages; ++stage) {
    Trace trace;
    trace.enable();
    const plan::RankTimeline& timeline = step.timelines[stage];
    for (const plan::TimedWork& timed : timeline.work) {
      trace.record(name_of(timed.work, stages, layout.interleaving), "compute", timed.begin_seconds, timed.end_seconds);
      record_message(trace, timed, step.stages[stage], stages * static_cast<std::size_t>(layout.interleaving));
    }
    const double end = timeline.work.back().end_seconds, exchanged = end + step.gradients[stage];
    if (exchanged > end) trace.record("gradients and weights", "communication", end, exchanged);
    trace.record(layout.offload == Offload::none ? "update" : "update in host memory", "update", exchanged,
                 exchanged + step.optimizer[stage]);
    const int rank = static_cast<int>(stage);
    for (Json& event : trace.to_events(rank, fmt::format("stage {} ({})", stage, settings.device->name)))
      events.push_back(std::move(event));
  }
  return events;
}

}  // namespace lshdp::explore
