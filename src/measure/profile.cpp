// One rank's part is measured in its own memory, all parts are gathered, the network and some steps are measured
// together.
#include "lshdp/measure/profile.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/network_probe.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/median.h"
#include "lshdp/core/progress.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/curve.h"
#include "lshdp/measure/rehearsal.h"
#include "lshdp/measure/together.h"
#include "lshdp/measure/transfer.h"
#include "lshdp/plan/alike_ranks.h"
#include "lshdp/plan/link_shares.h"
#include "lshdp/plan/solver.h"
#include "lshdp/plan/under_load.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;
constexpr int kUpdates = 7;
constexpr int kMostSteps = 8;
constexpr double kLoadSeconds = 0.1;  // how long a micro-batch of a rank that is done may take: it must notice the end

/// What one rank measures without the others.
struct ComputeProfile {
  std::vector<plan::CurvePoint> curve;
  double cores = 1;
  double update_seconds = 0;
  parallel::HostLink host_link;
};

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

/// Median seconds that this rank's share of the optimizer's work takes in a step.
double time_update(Rehearsal& rehearsal, const model::SyntheticBatch& batch) {
  rehearsal.finish_step(batch);
  std::vector<double> seconds;
  for (int i = 0; i < kUpdates; ++i) {
    const double before = rehearsal.update_seconds();
    rehearsal.finish_step(batch);
    seconds.push_back(rehearsal.update_seconds() - before);
  }
  return median(std::move(seconds));
}

/// Computes until every rank is here.
void compute_until_all_are_done(comm::Communicator& communicator, const std::function<void()>& compute) {
  float token = 1;
  comm::Work everyone = communicator.all_reduce_sum({&token, 1, comm::DataType::float32});
  while (compute && !everyone.done()) compute();
  everyone.wait();
}

/// The largest batch of the curve that still ends soon.
std::int64_t load_batch(const std::vector<plan::CurvePoint>& curve) {
  std::int64_t batch = 1;
  for (const plan::CurvePoint& point : curve) batch = point.seconds <= kLoadSeconds ? point.batch : batch;
  return batch;
}

CurveOptions curve_options(const ProfileOptions& options, std::int64_t max_batch, Progress& progress) {
  CurveOptions result;
  result.whole = options.total > 0;
  result.largest = result.whole ? std::min(max_batch, options.total) : max_batch;
  result.budget_seconds = options.curve_seconds;
  result.progress = [&progress](double spent) { progress.update(static_cast<std::int64_t>(10 * spent)); };
  return result;
}

ComputeProfile measure_compute(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                               const ProfileOptions& options, std::int64_t max_batch) {
  ComputeProfile result;
  communicator.barrier();
  if (max_batch == 0) {
    compute_until_all_are_done(communicator, nullptr);
    return result;
  }
  Progress progress("measuring compute", static_cast<std::int64_t>(10 * options.curve_seconds),
                    options.show_progress && communicator.rank() == 0, 10, " s");
  SpeedEmulator emulator(setup.speed);
  Rehearsal rehearsal(model, setup, communicator.rank(), communicator.size(), &emulator);
  model::SyntheticBatch batch = synthetic_batch_there(model.input, 1, kSeed, setup);
  result.update_seconds = time_update(rehearsal, batch);
  double wall = 0, cpu = 0;
  const auto time = [&](std::int64_t size, int count) {
    if (batch.input.size(0) != size) {
      batch = {};
      batch = synthetic_batch_there(model.input, size, kSeed, setup);
    }
    const double cpu_begun = process_cpu_seconds(), seconds = rehearsal.time_micro_batches(batch, count);
    cpu += process_cpu_seconds() - cpu_begun;
    wall += seconds;
    return seconds;
  };
  result.curve = measure_curve(time, curve_options(options, max_batch, progress));
  result.cores = cpu / wall;
  const std::int64_t load = load_batch(result.curve);
  result.host_link = rehearsal.host_link();
  compute_until_all_are_done(communicator, [&] { time(load, 1); });
  rehearsal.finish_step(batch);
  return result;
}

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
  return {{"device", setup.compute_device->name()},
          {"speed", setup.speed},
          {"cores", mine.cores},
          {"update_seconds", mine.update_seconds},
          {"host_link_bytes_per_second",
           mine.host_link.seconds > 0 ? static_cast<double>(mine.host_link.bytes) / mine.host_link.seconds : 0},
          {"curve", curve}};
}

plan::RankProfile rank_profile(const MaxBatchResult& memory, const Json& compute) {
  plan::RankProfile rank{.rank = memory.rank,
                         .host = memory.host,
                         .device = compute.at("device"),
                         .memory_bytes = memory.memory_bytes,
                         .max_batch = memory.max_batch,
                         .speed = compute.at("speed"),
                         .cores = compute.at("cores"),
                         .update_seconds = compute.at("update_seconds"),
                         .host_link_bytes_per_second = compute.at("host_link_bytes_per_second"),
                         .curve = {}};
  for (const Json& point : compute.at("curve")) rank.curve.push_back({point.at(0), point.at(1)});
  // Batches that were not timed are not offered to the solver: it would have to guess beyond the end of the curve.
  if (!rank.curve.empty()) rank.max_batch = rank.curve.back().batch;
  return rank;
}

/// Says which ranks cannot take part.
void report_fit(const std::vector<MaxBatchResult>& results, const std::string& model) {
  for (const MaxBatchResult& result : results) {
    if (result.max_batch > 0) continue;
    spdlog::warn("{} does not fit on rank {} ({}): it has {} and needs {}{}", model, result.rank, result.host,
                 format_size(result.memory_bytes), result.needs_more ? "more than " : "",
                 format_size(result.needed_bytes));
  }
}

/// Rank 0's word, because ranks of different processors may round differently: the plan and how many steps of it are
/// run; empty if there is none (the total asked for cannot be met, which optimize will tell) or a rank cannot take
/// part.
std::string plan_of_steps(const plan::Profile& profile, const ProfileOptions& options) {
  const auto cannot_hold_it = [](const plan::RankProfile& rank) { return rank.max_batch == 0; };
  if (std::ranges::any_of(profile.ranks, cannot_hold_it)) return "";
  plan::SolverOptions solver;
  if (options.total > 0) solver.total = options.total;
  try {
    const plan::Plan plan = plan::solve(plan::pool_alike_ranks(profile).profile, solver).plan;
    const double affordable = options.together_seconds / plan.predicted.step_seconds - kUncountedSteps;
    return json_text(
        Json{{"plan", plan::to_json(plan)}, {"steps", std::clamp(static_cast<int>(affordable), 1, kMostSteps)}});
  } catch (const UsageError&) {
    return "";
  }
}

plan::Profile corrected_by_steps(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                                 plan::Profile profile, const ProfileOptions& options) {
  const std::string text = comm::on_rank_0(communicator, [&] { return plan_of_steps(profile, options); });
  if (text.empty()) return profile;
  const Json json = parse_json(text, "the plan of rank 0");
  const plan::Plan plan = plan::plan_from_json(json.at("plan"), "the plan of rank 0");
  const int steps = json.at("steps").get<int>();
  if (communicator.rank() == 0) spdlog::info("profile: {} steps of all ranks together", steps + kUncountedSteps);
  const double cores = profile.ranks[static_cast<std::size_t>(communicator.rank())].cores;
  return plan::under_load(std::move(profile), plan, run_together(communicator, model, setup, plan, steps, cores));
}

plan::Profile describe(const model::Model& model, const RankSetup& setup) {
  const parallel::StepTraffic traffic = parallel::step_traffic(model, store_options(setup));
  plan::Profile profile;
  profile.model = model.name;
  profile.mode = parallel::to_text(setup.mode);
  profile.offload = setup.offload;
  profile.precision = parallel::to_text(setup.precision);
  profile.wire = parallel::to_text(setup.wire);
  profile.data_shape = data_shape(model.input);
  profile.parameter_count = model.parameter_count();
  profile.gradient_bytes = traffic.gradient_bytes;
  profile.parameter_bytes = traffic.parameter_bytes;
  profile.first_block_bytes = traffic.boundary_gradient_bytes;
  return profile;
}

}  // namespace

plan::Profile measure_profile(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                              MemoryBudget& budget, const ProfileOptions& options) {
  const bool speaks = communicator.rank() == 0;
  if (speaks)
    spdlog::info("profile: network, at most about {}", format_seconds(options.network_seconds + options.link_seconds));
  // First of all, since buckets and segments follow from it: memory and computing are measured with these.
  const std::int64_t gradient_bytes = parallel::step_traffic(model, store_options(setup)).gradient_bytes;
  const plan::Profile transfers = measure_transfers(communicator, gradient_bytes, options);
  RankSetup decided = follow_transfer_sizes(communicator, setup, plan::transfer_sizes(transfers));
  plan::Profile profile = describe(model, decided);
  profile.network = transfers.network;
  if (speaks) spdlog::info("profile: largest batch of {} ranks", communicator.size());
  const std::int64_t largest =
      options.total > 0 ? std::min(options.total, options.largest_batch) : options.largest_batch;
  const auto memory = probe_max_batches(communicator, model, decided, budget,
                                        {.largest = largest, .longest_try_seconds = options.longest_try_seconds});
  comm::agree(communicator, [&] { require_fit_somewhere(memory, model.name, setup); });
  if (speaks) report_fit(memory, model.name);
  if (speaks) spdlog::info("profile: compute, at most about {}", format_seconds(options.curve_seconds));
  const MaxBatchResult& fits = memory[static_cast<std::size_t>(communicator.rank())];
  if (setup.mode == parallel::Mode::lsdp) decided.resident = fits.resident;
  const ComputeProfile mine = measure_compute(communicator, model, decided, options, fits.max_batch);
  const auto gathered = comm::all_gather_text(communicator, json_text(to_json(mine, setup)));
  for (std::size_t i = 0; i < gathered.size(); ++i) {
    profile.ranks.push_back(rank_profile(memory[i], Json::parse(gathered[i])));
    profile.ranks[i].link_bytes_per_second = transfers.ranks[i].link_bytes_per_second;
  }
  for (plan::RankProfile& rank : profile.ranks) {
    const double owned = static_cast<double>(profile.parameter_count) / static_cast<double>(profile.ranks.size());
    rank.update_parameters_per_second = rank.update_seconds > 0 ? owned / rank.update_seconds : 0;
  }
  if (communicator.size() == 1 || options.together_seconds <= 0) return profile;
  // What unequal shards take was not probed: these steps may have all that the host can give.
  if (!plan::shard_weights(profile).empty()) budget.set_limit(std::max(setup.spare_memory_bytes, setup.memory_bytes));
  profile = corrected_by_steps(communicator, model, decided, std::move(profile), options);
  budget.set_limit(setup.memory_bytes);
  return profile;
}

}  // namespace lshdp::measure
