// One rank's part is measured in its own memory, all parts are gathered, the network and some steps are measured
// together.
#include "lshdp/measure/profile.h"

#include <algorithm>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "calibration_run.h"
#include "compute.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/network_probe.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/transfer.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/plan/alike_ranks.h"
#include "lshdp/plan/disturbance.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/link_shares.h"
#include "lshdp/plan/solver.h"
#include "lshdp/plan/under_load.h"

namespace lshdp::measure {
namespace {

constexpr int kMaxSteps = 8;
constexpr int kMaxPlans = 3;  // that are tried out where estimates of memory were too large

plan::NetworkProfile measure_network(comm::Communicator& communicator, std::int64_t largest_bytes, double seconds) {
  const comm::NetworkMeasurement measured = comm::probe_network(communicator, largest_bytes, seconds);
  plan::NetworkProfile network{.latency_seconds = measured.latency_seconds,
                               .bytes_per_second = measured.bytes_per_second,
                               .cpu_seconds_per_byte = measured.cpu_seconds_per_byte,
                               .curve = {}};
  for (const comm::AllReducePoint& point : measured.curve) network.curve.push_back({point.bytes, point.seconds});
  for (const comm::MessagePoint& point : measured.messages) network.messages.push_back({point.bytes, point.seconds});
  return network;
}

/// By rank. Ranks that share a host share a link: nothing is known of them one by one, and all are 0.
std::vector<double> measure_links(comm::Communicator& communicator, double seconds) {
  const std::vector<std::string> names = comm::all_gather_hosts(communicator);
  if (seconds <= 0 || std::set(names.begin(), names.end()).size() < names.size())
    return std::vector<double>(names.size(), 0);
  return comm::probe_links(communicator, seconds);
}

/// Network and links, with ranks that have nothing else yet.
plan::Profile measure_transfers(comm::Communicator& communicator, std::int64_t gradient_bytes,
                                const ProfileOptions& options) {
  plan::Profile profile;
  profile.network =
      measure_network(communicator, std::min(gradient_bytes, options.largest_message), options.network_seconds);
  for (const double rate : measure_links(communicator, options.link_seconds))
    profile.ranks.emplace_back().link_bytes_per_second = rate;
  return profile;
}

Json to_json(const ComputeProfile& mine, const RankSetup& setup) {
  Json curve = Json::array();
  for (const plan::CurvePoint& point : mine.curve) curve.push_back({point.batch, point.seconds});
  Json blocks = Json::array(), times = Json::array();
  for (const plan::BlockProfile& block : mine.blocks)
    blocks.push_back({block.name, block.parameters, block.activation_bytes, block.output_bytes, block.frozen_bytes,
                      block.expanded_bytes});
  for (const plan::BlockTimes& time : mine.block_times) times.push_back({time.batch, time.forward, time.backward});
  return {{"device", setup.compute_device->name()},
          {"threads", setup.threads},
          {"speed", setup.speed},
          {"too_large", mine.too_large},
          {"repeated", mine.repeated},
          {"cores", mine.cores},
          {"update_seconds", mine.update_seconds},
          {"host_link_bytes_per_second",
           mine.host_link.seconds > 0 ? static_cast<double>(mine.host_link.bytes) / mine.host_link.seconds : 0},
          {"curve", curve},
          {"blocks", blocks},
          {"block_times", times}};
}

/// A batch that was timed fits, and one that ran out of memory while it was timed does not, whatever was estimated.
plan::RankProfile rank_profile(const MaxBatchResult& memory, const Json& compute) {
  plan::RankProfile rank{.rank = memory.rank,
                         .host = memory.host,
                         .device = compute.at("device"),
                         .memory_bytes = memory.memory_bytes,
                         .max_batch = memory.max_batch,
                         .max_batch_from = memory.from,
                         .threads = compute.at("threads"),
                         .speed = compute.at("speed"),
                         .cores = compute.at("cores"),
                         .update_seconds = compute.at("update_seconds"),
                         .host_link_bytes_per_second = compute.at("host_link_bytes_per_second"),
                         .repeated = compute.at("repeated"),
                         .curve = {}};
  for (const Json& point : compute.at("curve")) rank.curve.push_back({point.at(0), point.at(1)});
  for (const Json& time : compute.at("block_times")) rank.block_times.push_back({time.at(0), time.at(1), time.at(2)});
  if (const std::int64_t too_large = compute.at("too_large"); too_large > 0)
    rank.max_batch = std::min(rank.max_batch, too_large - 1);
  return rank;
}

/// Says which ranks cannot take part, or with some of the blocks only.
void report_fit(const std::vector<MaxBatchResult>& results, const std::string& model, bool in_parts) {
  for (const MaxBatchResult& result : results) {
    if (result.max_batch > 0) continue;
    spdlog::warn("{} does not fit on rank {} ({}): it has {} and needs {}{}{}", model, result.rank, result.host,
                 format_size(result.memory_bytes), result.needs_more ? "more than " : "",
                 format_size(result.needed_bytes), in_parts ? "; its blocks are timed in parts" : "");
  }
}

/// Steps of all ranks together.
struct StepsTogether {
  CalibrationPlan calibration;
  int steps = 0;
};

/// What is best by `profile`; none: the total asked for cannot be met, which optimize will tell, or a rank cannot take
/// part.
std::optional<CalibrationPlan> best_plan(const plan::Profile& profile, const ProfileOptions& options) {
  const plan::Profile pooled = plan::pool_alike_ranks(profile).profile;
  try {
    if (options.layout) {
      const plan::Layout layout = plan::solve_layout(pooled, *options.layout).layout;
      const std::size_t ranks = profile.ranks.size();
      if (!plan::is_plain(layout, ranks)) return CalibrationPlan{plan::plan_of(layout, ranks), layout};
    }
    const auto cannot_hold_it = [](const plan::RankProfile& rank) { return rank.max_batch == 0; };
    if (std::ranges::any_of(profile.ranks, cannot_hold_it)) return std::nullopt;
    plan::SolverOptions solver;
    if (options.total > 0) solver.total = options.total;
    return CalibrationPlan{plan::solve(pooled, solver).plan};
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

double predicted_step(const CalibrationPlan& calibration) {
  return calibration.layout ? calibration.layout->predicted.step_seconds : calibration.plan.predicted.step_seconds;
}

/// By rank 0's word, because ranks of different processors may round differently. All ranks must call it.
std::optional<StepsTogether> steps_together(comm::Communicator& communicator, const plan::Profile& profile,
                                            const ProfileOptions& options) {
  const std::string text = comm::on_rank_0(communicator, [&]() -> std::string {
    const std::optional<CalibrationPlan> best = best_plan(profile, options);
    if (!best) return "";
    const double affordable = options.calibration_seconds / predicted_step(*best) - kUncountedSteps;
    Json json{{"plan", plan::to_json(best->plan)}, {"steps", std::clamp(static_cast<int>(affordable), 1, kMaxSteps)}};
    if (best->layout) json["layout"] = plan::to_json(*best->layout);
    return json_text(json);
  });
  if (text.empty()) return std::nullopt;
  constexpr const char* kSource = "the plan of rank 0";
  const Json json = parse_json(text, kSource);
  StepsTogether together{{plan::plan_from_json(json.at("plan"), kSource)}, json.at("steps").get<int>()};
  if (json.contains("layout")) together.calibration.layout = plan::layout_from_json(json.at("layout"), kSource);
  return together;
}

/// Tries the plan's micro-batches that are larger than any this rank has trained so far. Where one does not fit, the
/// rank's largest becomes what it has trained, on every rank's profile. Returns whether all fit.
bool estimates_hold(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                    MemoryBudget& budget, const plan::Plan& plan, std::vector<std::int64_t>& tried,
                    plan::Profile& profile) {
  const auto rank = static_cast<std::size_t>(communicator.rank());
  const auto& planned = plan.ranks[rank].micro_batches;
  const std::int64_t largest = planned.empty() ? 0 : std::ranges::max(planned);
  std::int64_t holds = tried[rank];
  comm::agree(communicator, [&] {
    if (largest > tried[rank] && fits(model, setup, communicator.rank(), communicator.size(), budget, largest))
      holds = largest;
  });
  const std::vector<double> all = comm::all_gather_values(communicator, static_cast<double>(holds));
  bool hold = true;
  for (std::size_t r = 0; r < all.size(); ++r) {
    tried[r] = static_cast<std::int64_t>(all[r]);
    const auto& sizes = plan.ranks[r].micro_batches;
    if (sizes.empty() || std::ranges::max(sizes) <= tried[r]) continue;
    profile.ranks[r].max_batch = tried[r];
    hold = false;
  }
  return hold;
}

/// `tried`: by rank, the largest micro-batch that it has trained.
plan::Profile corrected_by_steps(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                                 MemoryBudget& budget, plan::Profile profile, std::vector<std::int64_t> tried,
                                 const ProfileOptions& options) {
  for (int attempt = 0; attempt < kMaxPlans; ++attempt) {
    const std::optional<StepsTogether> together = steps_together(communicator, profile, options);
    if (!together) return profile;
    const auto& [calibration, steps] = *together;
    const auto& [plan, layout] = calibration;
    // What a stage takes is of the model of memory; the whole model was tried out.
    if (!layout && !estimates_hold(communicator, model, setup, budget, plan, tried, profile)) continue;
    if (communicator.rank() == 0) {
      spdlog::info("profile: {} steps of all ranks together, about {}", steps + kUncountedSteps,
                   format_seconds((steps + kUncountedSteps) * predicted_step(calibration)));
    }
    // What unequal shards take was not probed: these steps may have all that the host can give.
    if (!plan.shard_weights.empty()) budget.set_limit(std::max(setup.spare_memory_bytes, setup.memory_bytes));
    const double cores = profile.ranks[static_cast<std::size_t>(communicator.rank())].cores;
    const plan::MeasuredSteps measured = run_calibration(communicator, model, setup, calibration, steps, cores);
    if (layout) return plan::under_load(std::move(profile), *layout, measured);
    return plan::under_load(std::move(profile), plan, measured);
  }
  return profile;
}

plan::Profile describe(const model::Model& model, const RankSetup& setup) {
  const parallel::StepTraffic traffic = parallel::step_traffic(model, store_options(setup));
  plan::Profile profile;
  profile.model = model.name;
  profile.strategy = setup.strategy;
  profile.data_shape = data_shape(model.input);
  profile.parameter_count = model.trained_count();
  profile.gradient_bytes = traffic.gradient_bytes;
  profile.parameter_bytes = traffic.parameter_bytes;
  profile.exposed_bytes = traffic.exposed_bytes;
  return profile;
}

/// The ranks of the profile, on every rank; its blocks are those of the first rank that holds the model.
void gather_ranks(comm::Communicator& communicator, const std::vector<MaxBatchResult>& memory,
                  const ComputeProfile& mine, const RankSetup& setup, plan::Profile& profile) {
  profile.ranks.clear();
  for (const std::string& text : comm::all_gather_text(communicator, json_text(to_json(mine, setup)))) {
    const Json rank = Json::parse(text);
    profile.ranks.push_back(rank_profile(memory[profile.ranks.size()], rank));
    if (!profile.blocks.empty()) continue;
    for (const Json& block : rank.at("blocks"))
      profile.blocks.push_back({block.at(0), block.at(1), block.at(2), block.at(3), {}, block.at(4), block.at(5)});
  }
}

/// Which blocks use parameters of earlier ones.
void note_shared_parameters(const model::Model& model, plan::Profile& profile) {
  for (const auto& [owner, user] : parallel::layout_needs(model).shared_parameters) {
    std::vector<std::size_t>& owners = profile.blocks.at(user).shares_with;
    if (std::ranges::find(owners, owner) == owners.end()) owners.push_back(owner);
  }
}

/// By rank 0's word, since others may round differently.
std::vector<std::string> agreed_contradictions(comm::Communicator& communicator, const plan::Profile& profile) {
  const std::string text = comm::on_rank_0(communicator, [&] { return json_text(plan::contradictions(profile)); });
  return Json::parse(text).get<std::vector<std::string>>();
}

std::string time_text(const ComputeTime& time, const ProfileOptions& options) {
  const std::string batch = options.total > 0 ? "a step" : "one sample";
  return fmt::format("compute, at most about {} ({} takes {}), then steps together, about {}",
                     format_seconds(time.seconds), batch, format_seconds(time.slowest),
                     format_seconds(std::max(options.calibration_seconds, (1 + kUncountedSteps) * time.slowest)));
}

/// Fills in the ranks; measures twice where the first time contradicts itself.
void measure_ranks(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                   MemoryBudget& budget, const std::vector<MaxBatchResult>& memory, const ProfileOptions& options,
                   plan::Profile& profile) {
  const bool is_root = communicator.rank() == 0;
  ComputeMeasurement compute(communicator, model, setup, budget,
                             memory[static_cast<std::size_t>(communicator.rank())].max_batch, options.in_parts);
  const ComputeTime time = compute.prepare(options.total, options.curve_seconds);
  if (is_root) spdlog::info("profile: {}", time_text(time, options));
  const auto measure = [&](plan::Profile& into) {
    gather_ranks(communicator, memory, compute.run(time, options.total, is_root && options.show_progress), setup, into);
  };
  measure(profile);
  profile.disturbed = agreed_contradictions(communicator, profile);
  if (profile.disturbed.empty()) return;
  if (is_root) spdlog::warn("profile: {}; measuring again", fmt::join(profile.disturbed, "; "));
  plan::Profile again = profile;
  measure(again);
  profile = plan::quicker_of(std::move(profile), again);
  profile.disturbed = agreed_contradictions(communicator, profile);
  if (is_root && !profile.disturbed.empty())
    spdlog::warn("profile: measured twice, but still {}", fmt::join(profile.disturbed, "; "));
}

}  // namespace

std::vector<std::int64_t> data_shape(const model::InputSpec& input) {
  switch (input.kind) {
    case model::InputSpec::Kind::image:
      return {input.channels, input.image_size, input.image_size};
    case model::InputSpec::Kind::flat:
      return {input.input_size};
    case model::InputSpec::Kind::tokens:
      return {input.context};
  }
  return {};
}

plan::Profile measure_profile(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                              MemoryBudget& budget, const ProfileOptions& options) {
  const bool is_root = communicator.rank() == 0;
  if (is_root)
    spdlog::info("profile: network, at most about {}", format_seconds(options.network_seconds + options.link_seconds));
  // First of all, since buckets and segments follow from it: memory and computing are measured with these.
  const std::int64_t gradient_bytes = parallel::step_traffic(model, store_options(setup)).gradient_bytes;
  const plan::Profile transfers = measure_transfers(communicator, gradient_bytes, options);
  RankSetup decided = follow_transfer_sizes(communicator, setup, plan::transfer_sizes(transfers));
  plan::Profile profile = describe(model, decided);
  profile.network = transfers.network;
  if (is_root)
    spdlog::info("profile: largest batch of {} ranks, at most about {}, or two steps", communicator.size(),
                 format_seconds(options.memory_seconds));
  const std::int64_t largest =
      options.total > 0 ? std::min(options.total, options.largest_batch) : options.largest_batch;
  const auto memory = probe_max_batches(
      communicator, model, decided, budget,
      {.largest = largest, .max_try_seconds = options.max_try_seconds, .total_seconds = options.memory_seconds});
  comm::agree(communicator, [&] {
    if (!options.in_parts || communicator.size() == 1) require_fit_somewhere(memory, model.name, setup);
  });
  if (is_root) report_fit(memory, model.name, options.in_parts);
  if (plan::traits_of(setup.strategy.mode).streams)
    decided.strategy.resident = memory[static_cast<std::size_t>(communicator.rank())].resident;
  measure_ranks(communicator, model, decided, budget, memory, options, profile);
  note_shared_parameters(model, profile);
  std::vector<std::int64_t> tried;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    profile.ranks[i].link_bytes_per_second = transfers.ranks[i].link_bytes_per_second;
    const auto& curve = profile.ranks[i].curve;
    tried.push_back(std::max(memory[i].tried, curve.empty() ? 0 : curve.back().batch));
  }
  for (plan::RankProfile& rank : profile.ranks) {
    const double owned = static_cast<double>(profile.parameter_count) / static_cast<double>(profile.ranks.size());
    rank.update_parameters_per_second = rank.update_seconds > 0 ? owned / rank.update_seconds : 0;
  }
  if (communicator.size() == 1 || options.calibration_seconds <= 0) return profile;
  profile = corrected_by_steps(communicator, model, decided, budget, std::move(profile), std::move(tried), options);
  budget.set_limit(setup.memory_bytes);
  return profile;
}

}  // namespace lshdp::measure
