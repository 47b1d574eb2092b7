// Choosing the plan of a run.
#include "lshdp/train/choose_plan.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "choose_layout.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/max_batch.h"
#include "lshdp/measure/profile.h"
#include "lshdp/measure/transfer.h"
#include "lshdp/plan/alike_ranks.h"
#include "lshdp/plan/describe.h"
#include "lshdp/plan/leave_out.h"
#include "lshdp/plan/link_shares.h"
#include "lshdp/plan/solver.h"
#include "lshdp/plan/stage_rebalance.h"
#include "lshdp/train/run_file.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

std::vector<std::int64_t> equal_batches(const PlanRequest& request, int ranks) {
  if (!request.total) throw UsageError("--batches equal needs --total, the samples a step");
  std::vector<std::int64_t> batches;
  for (int r = 0; r < ranks; ++r) batches.push_back(*request.total / ranks + (r < *request.total % ranks ? 1 : 0));
  return batches;
}

/// A plan that a person gave, by rank 0's word only: its file need not be on other hosts.
plan::Plan given_plan(const PlanRequest& request, int ranks) {
  if (request.batches == "equal") return plan::plan_from_batches(equal_batches(request, ranks));
  if (is_batch_list(request.batches)) return plan::plan_from_batches(parse_int_list(request.batches, "--batches"));
  if (!fs::exists(request.batches)) {
    throw UsageError(
        fmt::format("--batches: '{}' is neither equal, auto, a list of numbers nor a file", request.batches));
  }
  return plan::read_plan(request.batches);
}

void require_model(const std::string& planned, const model::Model& model, const std::string& source) {
  if (planned.empty() || planned == model.name) return;
  throw UsageError(fmt::format("{} is for model {}, but this run has {}", source, planned, model.name));
}

void require_strategy(const plan::Strategy& planned, const measure::RankSetup& setup, const std::string& source) {
  const std::vector<std::string> differences = plan::differences(planned, setup.strategy);
  if (!differences.empty()) throw UsageError(fmt::format("{} is for {}", source, differences.front()));
}

void require_ranks(std::size_t planned, int ranks, const std::string& source) {
  if (planned == static_cast<std::size_t>(ranks)) return;
  throw UsageError(fmt::format("{} is for {} ranks, but this run has {}", source, planned, ranks));
}

void check_plan(const plan::Plan& plan, const model::Model& model, const measure::RankSetup& setup,
                const PlanRequest& request, int ranks) {
  const std::string source = "--batches: " + request.batches;
  require_ranks(plan.ranks.size(), ranks, source);
  require_model(plan.model, model, source);
  if (plan.strategy) require_strategy(*plan.strategy, setup, source);
  if (!plan.shard_weights.empty() && !plan::traits_of(setup.strategy.mode).weights_shards) {
    throw UsageError(
        fmt::format("{}: \"shard_weight\" is for mode ddp; shards of fsdp follow --memory, those of lsdp "
                    "are equal",
                    source));
  }
  if (request.total && plan.total != *request.total) {
    throw UsageError(
        fmt::format("--batches: {} adds up to {}, but --total is {}", request.batches, plan.total, *request.total));
  }
}

/// Longer sequences take longer.
void require_data_shape(const std::vector<std::int64_t>& measured, const model::Model& model,
                        const std::string& source) {
  const std::vector<std::int64_t> now = measure::data_shape(model.input);
  if (measured == now) return;
  throw UsageError(fmt::format("{} was measured with samples of [{}], but this run's are [{}]; measure anew{}", source,
                               fmt::join(measured, ", "), fmt::join(now, ", "),
                               model.input.kind == model::InputSpec::Kind::tokens ? ", or give its --context" : ""));
}

/// The profile of --profile as optimize plans with it, by rank 0's word only.
plan::Profile given_profile(comm::Communicator& communicator, const model::Model& model,
                            const measure::RankSetup& setup, const std::string& path) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const plan::Profile profile = plan::read_profile(path);
    const std::string source = "--profile: " + path;
    require_ranks(profile.ranks.size(), communicator.size(), source);
    require_model(profile.model, model, source);
    require_strategy(profile.strategy, setup, source);
    require_data_shape(profile.data_shape, model, source);
    return json_text(plan::to_json(plan::pool_alike_ranks(profile).profile));
  });
  return plan::profile_from_json(parse_json(text, "--profile"), "--profile");
}

/// Rank 0's word: ranks of different processors might round differently.
plan::Plan solved_by_rank_0(comm::Communicator& communicator, const plan::Profile& profile, const PlanRequest& request,
                            const std::optional<plan::ShardWeights>& shards = {}) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const plan::SolverOptions options{.total = request.total,
                                      .max_accumulation = request.max_accumulation,
                                      .shards = shards,
                                      .total_bound = request.total_bound,
                                      .largest_total = request.samples};
    plan::Solution solution = plan::solve(profile, options);
    if (solution.total_choice) spdlog::info("{}", plan::describe_total(*solution.total_choice, options));
    plan::Plan plan = std::move(solution.plan);
    plan.leave_out = plan::best_left_out(profile, plan, options);
    return json_text(plan::to_json(plan));
  });
  return plan::plan_from_json(parse_json(text, "the solved plan"), "the solved plan");
}

/// What was measured as it is planned with, by rank 0's word for the same reason.
plan::Profile pooled_by_rank_0(comm::Communicator& communicator, const plan::Profile& measured) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const plan::PooledProfile pooled = plan::pool_alike_ranks(measured);
    for (const std::string& line : plan::describe(pooled.alike)) spdlog::info("{}", line);
    return json_text(plan::to_json(pooled.profile));
  });
  return plan::profile_from_json(parse_json(text, "the profile"), "the profile");
}

/// Tries the plan's largest micro-batch of each rank under its budget.
void require_fit(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                 MemoryBudget& budget, const plan::Plan& plan) {
  measure::RankSetup planned = measure::with_transfer_sizes(setup, plan.transfer);
  planned.shard_weights = plan.shard_weights;
  const auto& mine = plan.ranks[static_cast<std::size_t>(communicator.rank())].micro_batches;
  const std::int64_t largest = mine.empty() ? 1 : *std::max_element(mine.begin(), mine.end());
  const auto results = measure::probe_max_batches(communicator, model, planned, budget, {.largest = largest});
  comm::agree(communicator, [&] {
    const measure::MaxBatchResult& result = results[static_cast<std::size_t>(communicator.rank())];
    if (result.limited_by != measure::LimitedBy::memory || result.max_batch >= largest) return;
    throw UsageError(fmt::format("--batches: a micro-batch of {} does not fit into {}; the largest that does is {}",
                                 largest, format_size(setup.memory_bytes), result.max_batch));
  });
}

/// The profile was measured with equal shards: a rank that owns more needs more memory. Where it has not got it, shards
/// stay equal.
void keep_equal_shards_unless_fit(comm::Communicator& communicator, const model::Model& model,
                                  const measure::RankSetup& setup, MemoryBudget& budget, const PlanRequest& request,
                                  PlanChoice& choice) {
  if (choice.plan.shard_weights.empty()) return;
  try {
    require_fit(communicator, model, setup, budget, choice.plan);
  } catch (const AgreedError& error) {
    if (communicator.rank() == 0) spdlog::warn("links differ, but shards stay equal: {}", error.what());
    choice.plan = solved_by_rank_0(communicator, *choice.profile, request, plan::ShardWeights());
  }
}

/// What a profile depends on beside the machines' state. All ranks call it.
Json measuring_setup(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                     const PlanRequest& request) {
  const Json mine{{"host", setup.host},
                  {"device", setup.compute_device->name()},
                  {"threads", setup.threads},
                  {"speed", setup.speed},
                  {"memory_bytes", setup.memory_bytes}};
  Json ranks = Json::array();
  for (const std::string& text : comm::all_gather_text(communicator, json_text(mine)))
    ranks.push_back(text.empty() ? Json() : Json::parse(text));
  Json measuring{
      {"model", model.description}, {"total", request.total ? Json(*request.total) : Json()}, {"ranks", ranks}};
  measuring.update(plan::to_json(setup.strategy));
  return measuring;
}

/// The profile of the run that is resumed, by rank 0's word; none where it was disturbed, or measured with another
/// set-up.
std::optional<plan::Profile> profile_of_run(comm::Communicator& communicator, const PlanFolder& run,
                                            const Json& setup) {
  if (!run.resumed || run.folder.empty()) return std::nullopt;
  const std::string text = comm::on_rank_0(communicator, [&] {
    const fs::path path = run.folder / "profile.json";
    if (!fs::exists(path)) return std::string();
    const Json launch = read_last_launch(run.folder);
    if (!launch.is_object() || !is_same_setup(launch.value("measured_with", Json()), setup)) return std::string();
    const plan::Profile profile = plan::read_profile(path);
    if (!profile.disturbed.empty()) {
      spdlog::info("the profile of {} was disturbed when it was measured: measuring again", run.folder.string());
      return std::string();
    }
    spdlog::info("the profile of {} was measured with this set-up: nothing is measured again", run.folder.string());
    return json_text(plan::to_json(profile));
  });
  if (text.empty()) return std::nullopt;
  return plan::profile_from_json(parse_json(text, "profile.json"), "profile.json");
}

plan::Profile measure_now(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                          MemoryBudget& budget, const PlanRequest& request) {
  measure::ProfileOptions options{.total = request.total.value_or(0), .show_progress = true};
  if (asks_for_stages(request)) {
    options.in_parts = communicator.size() > 1;
    options.layout = layout_options(model, request);
  }
  return measure::measure_profile(communicator, model, setup, budget, options);
}

/// The profile of this run and what it was measured with; no plan yet.
PlanChoice profiled(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                    MemoryBudget& budget, const PlanRequest& request, const PlanFolder& run) {
  const Json measured_with = measuring_setup(communicator, model, setup, request);
  const std::optional<plan::Profile> known = profile_of_run(communicator, run, measured_with);
  const plan::Profile measured = known ? *known : measure_now(communicator, model, setup, budget, request);
  return {.plan = {},
          .max_batch = {},
          .profile = pooled_by_rank_0(communicator, measured),
          .measured = known ? std::nullopt : std::optional(measured),
          .measured_with = measured_with};
}

/// Every rank has the whole model.
void split_batches(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                   MemoryBudget& budget, const PlanRequest& request, PlanChoice& choice) {
  choice.plan = solved_by_rank_0(communicator, *choice.profile, request);
  keep_equal_shards_unless_fit(communicator, model, setup, budget, request, choice);
}

PlanChoice measured_plan(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                         MemoryBudget& budget, const PlanRequest& request, const PlanFolder& run) {
  PlanChoice choice = profiled(communicator, model, setup, budget, request, run);
  split_batches(communicator, model, setup, budget, request, choice);
  return choice;
}

void follow_layout(const plan::Layout& layout, std::size_t ranks, PlanChoice& choice) {
  choice.plan = plan::plan_of(layout, ranks);
  if (!plan::is_plain(layout, ranks)) choice.layout = layout;
}

/// Where the whole model on every rank is fastest, batches are split as without --layout.
PlanChoice measured_layout(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                           MemoryBudget& budget, const PlanRequest& request, const PlanFolder& run) {
  PlanChoice choice = profiled(communicator, model, setup, budget, request, run);
  const plan::Layout layout = planned_layout(communicator, model, *choice.profile, request);
  const std::size_t ranks = choice.profile->ranks.size();
  if (plan::is_plain(layout, ranks)) {
    split_batches(communicator, model, setup, budget, request, choice);
  } else {
    follow_layout(layout, ranks, choice);
  }
  return choice;
}

/// That blocks of the layout can move between ranks in a run. Where nobody has asked for it by name, they stay.
std::string require_movable(const plan::Layout& layout, const std::optional<plan::Profile>& profile,
                            const PlanRequest& request) {
  if (layout.replicas.size() > 1) {
    constexpr const char* kOnePipeline = "cuts move within a run in layouts of one replica only";
    if (request.rebalance_given)
      throw UsageError(fmt::format("--rebalance: {}, and this one has {}; leave it out, or use --layout pipeline",
                                   kOnePipeline, layout.replicas.size()));
    spdlog::info("the layout has {} replicas: it stays as it is, {}", layout.replicas.size(), kOnePipeline);
  } else if (profile && layout.replicas.front().stages.size() > 1) {
    const plan::StageRebalancer possible(layout, *profile, {.rebalance = {}, .needs = {}});
  }
  return "";
}

std::string describe(const plan::Plan& plan) {
  std::string text = fmt::format("batches {} (total {})", fmt::join(plan::batches_of(plan), ","), plan.total);
  if (plan.predicted.step_seconds > 0)
    text += fmt::format(", predicted step {}", format_seconds(plan.predicted.step_seconds));
  if (!plan.shard_weights.empty())
    text += fmt::format(", links differ: shards as {}", fmt::join(plan.shard_weights, ":"));
  if (plan.transfer) text += ", " + plan::describe(*plan.transfer);
  return text;
}

}  // namespace

bool is_batch_list(const std::string& batches) {
  return batches.find_first_not_of("0123456789,- ") == std::string::npos;
}

bool is_same_setup(Json then, Json now) {
  constexpr double kLeast = 0.9;
  if (!then.is_object() || !then.contains("ranks") || !then["ranks"].is_array()) return false;
  if (then["ranks"].size() != now["ranks"].size()) return false;
  for (std::size_t rank = 0; rank < now["ranks"].size(); ++rank) {
    if (!then["ranks"][rank].is_object()) return false;
    const Json had = then["ranks"][rank].value("memory_bytes", Json(0)),
               has = now["ranks"][rank].value("memory_bytes", Json(0));
    if (!had.is_number() || has.get<double>() < kLeast * had.get<double>()) return false;
    then["ranks"][rank].erase("memory_bytes");
    now["ranks"][rank].erase("memory_bytes");
  }
  return then == now;
}

PlanChoice choose_plan(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                       MemoryBudget& budget, const PlanRequest& request, std::int64_t samples, const PlanFolder& run) {
  comm::agree(communicator, [&] {
    if (request.total.value_or(0) > samples) {
      throw UsageError(fmt::format("--total: {} is more than the {} samples of the data", *request.total, samples));
    }
  });
  PlanChoice choice;
  if (asks_for_stages(request)) comm::agree(communicator, [&] { require_stages_possible(request, setup); });
  if (is_layout_file(request)) {
    follow_layout(given_layout(communicator, model, setup, request), static_cast<std::size_t>(communicator.size()),
                  choice);
    if (!request.profile.empty()) choice.profile = given_profile(communicator, model, setup, request.profile);
  } else if (asks_for_stages(request)) {
    choice = measured_layout(communicator, model, setup, budget, request, run);
  } else if (request.batches == "auto") {
    PlanRequest bounded = request;
    bounded.samples = samples;
    choice = measured_plan(communicator, model, setup, budget, bounded, run);
  } else {
    const std::string text = comm::on_rank_0(communicator, [&] {
      const plan::Plan plan = given_plan(request, communicator.size());
      check_plan(plan, model, setup, request, communicator.size());
      return json_text(plan::to_json(plan));
    });
    choice.plan = plan::plan_from_json(parse_json(text, "--batches"), "--batches");
    if (!choice.plan.strategy) choice.plan.strategy = setup.strategy;
    if (!request.profile.empty()) choice.profile = given_profile(communicator, model, setup, request.profile);
    if (request.memory_given) require_fit(communicator, model, setup, budget, choice.plan);
  }
  if (choice.layout && request.rebalance > 0)
    comm::on_rank_0(communicator, [&] { return require_movable(*choice.layout, choice.profile, request); });
  if (choice.profile) {
    for (const plan::RankProfile& rank : choice.profile->ranks) choice.max_batch.push_back(rank.max_batch);
  }
  comm::on_rank_0(communicator, [&] {
    spdlog::info("{}", describe(choice.plan));
    for (const std::string& line : choice.layout ? plan::describe(*choice.layout) : std::vector<std::string>())
      spdlog::info("{}", line);
    if (choice.plan.leave_out) spdlog::info("{}", plan::describe_leave_out(choice.plan));
    if (choice.profile && !choice.layout) {
      for (const std::string& doubt : plan::describe_doubts(*choice.profile, choice.plan)) spdlog::warn("{}", doubt);
    }
    return std::string();
  });
  return choice;
}

}  // namespace lshdp::train
