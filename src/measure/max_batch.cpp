// Probes by training: the store and walker of the run under the run's budget.
#include "lshdp/measure/max_batch.h"

#include <fmt/format.h>

#include "dry_run.h"
#include "file_header.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;

struct Probe {
  const model::Model& model;
  const RankSetup& setup;
  int rank, ranks;
  MemoryBudget& budget;
  const MaxBatchOptions& options;

  /// One step on `batch` samples and the seconds it took, without what comes before it and is the same for every batch.
  /// Throws what running out of memory throws. The first try also holds a whole copy of the parameters for a moment, as
  /// a run does at its begin and its end.
  double train(std::int64_t batch, Attempt& outcome) const {
    std::vector<model::SyntheticBatch> loaded;
    for (int i = 0; i <= options.batches_ahead; ++i)
      loaded.push_back(synthetic_batch_there(model.input, batch, kSeed, setup));
    DryRun dry_run(model, setup, rank, ranks);
    if (batch == 1) dry_run.initialise();
    outcome.peak_bytes = budget.peak();
    budget.reset_peak();
    const double begun = now_seconds();
    dry_run.finish_step(loaded.front());
    return now_seconds() - begun;
  }

  Attempt attempt(std::int64_t batch) const {
    budget.reset_peak();
    const double begun = now_seconds();
    Attempt outcome;
    try {
      outcome.seconds = train(batch, outcome);
      outcome.fits = true;
    } catch (const std::exception& error) {
      if (!is_out_of_memory(error)) throw;
    }
    outcome.step_bytes = budget.peak();
    outcome.peak_bytes = std::max(outcome.peak_bytes, outcome.step_bytes);
    outcome.wall_seconds = now_seconds() - begun;
    return outcome;
  }

  /// What one sample needs, tried with all that the host can give.
  void measure_need(MaxBatchResult& result) const {
    budget.set_limit(std::max(setup.spare_memory_bytes, setup.memory_bytes));
    const Attempt unlimited = attempt(1);
    result.needs_more = !unlimited.fits;
    result.needed_bytes = unlimited.fits ? unlimited.peak_bytes : budget.needed();
  }
};

/// What stays free where blocks fill the budget: an allocator of a device apart hands memory out in larger pieces than
/// tensors ask for, and not in every step in the same places.
std::int64_t margin_of(const RankSetup& setup) {
  return setup.compute_device->has_own_memory() ? setup.memory_bytes / 50 : 0;
}

/// As many first blocks as fit beside what was in use at the peak with none resident.
std::size_t blocks_that_fit(const model::Model& model, const RankSetup& setup, std::int64_t peak_bytes) {
  if (!plan::traits_of(setup.strategy.mode).streams) return 0;
  if (setup.strategy.resident) return std::min(*setup.strategy.resident, model.blocks.size());
  parallel::StoreOptions options = store_options(setup);
  const auto bytes = [&](std::size_t resident) {
    options.strategy.resident = resident;
    return parallel::streamed_device_bytes(model, options);
  };
  const std::int64_t left = setup.memory_bytes - margin_of(setup) - peak_bytes + bytes(0);
  std::size_t resident = 0;
  while (resident < model.blocks.size() && bytes(resident + 1) <= left) ++resident;
  return resident;
}

Json to_json(const MaxBatchResult& result) {
  Json json{{"rank", result.rank},
            {"host", result.host},
            {"memory_bytes", result.memory_bytes},
            {"max_batch", result.max_batch},
            {"limited_by", to_text(result.limited_by)},
            {"max_batch_from", to_text(result.from)},
            {"tried", result.tried},
            {"peak_bytes", result.peak_bytes},
            {"resident", result.resident}};
  if (result.max_batch == 0) {
    json["needed_bytes"] = result.needed_bytes;
    json["needs_more"] = result.needs_more;
  }
  return json;
}

LimitedBy limited_by_from(const std::string& text) {
  for (const LimitedBy limit : {LimitedBy::memory, LimitedBy::largest, LimitedBy::time}) {
    if (text == to_text(limit)) return limit;
  }
  throw std::invalid_argument("limited_by: " + text);
}

plan::MaxBatchFrom from_text(const std::string& text) {
  for (const auto from : {plan::MaxBatchFrom::measured, plan::MaxBatchFrom::estimated, plan::MaxBatchFrom::limit}) {
    if (text == to_text(from)) return from;
  }
  throw std::invalid_argument("max_batch_from: " + text);
}

plan::MaxBatchFrom known_by(LimitedBy limit) {
  switch (limit) {
    case LimitedBy::memory:
      break;
    case LimitedBy::largest:
      return plan::MaxBatchFrom::limit;
    case LimitedBy::time:
      return plan::MaxBatchFrom::estimated;
  }
  return plan::MaxBatchFrom::measured;
}

MaxBatchResult result_from(const Json& json) {
  return {.rank = json.at("rank"),
          .host = json.at("host"),
          .memory_bytes = json.at("memory_bytes"),
          .max_batch = json.at("max_batch"),
          .from = from_text(json.at("max_batch_from")),
          .tried = json.at("tried"),
          .limited_by = limited_by_from(json.at("limited_by")),
          .peak_bytes = json.at("peak_bytes"),
          .needed_bytes = json.value("needed_bytes", std::int64_t{0}),
          .needs_more = json.value("needs_more", false),
          .resident = json.at("resident")};
}

}  // namespace

MaxBatchResult probe_max_batch(const model::Model& model, const RankSetup& setup, int rank, int ranks,
                               MemoryBudget& budget, const MaxBatchOptions& options) {
  const Probe probe{model, setup, rank, ranks, budget, options};
  budget.set_limit(setup.memory_bytes);
  const SearchLimits limits{setup.memory_bytes, options.largest, options.max_try_seconds, options.total_seconds};
  const SearchResult found = search_largest_batch([&](std::int64_t batch) { return probe.attempt(batch); }, limits);
  const Peak largest =
      found.limited_by == LimitedBy::time ? estimate_largest(found, limits) : Peak{found.largest, found.peak_bytes};
  MaxBatchResult result{.rank = rank,
                        .host = setup.host,
                        .memory_bytes = setup.memory_bytes,
                        .max_batch = largest.batch,
                        .from = known_by(found.limited_by),
                        .tried = found.largest,
                        .limited_by = found.limited_by,
                        .peak_bytes = largest.bytes};
  if (result.max_batch == 0) {
    probe.measure_need(result);
  } else {
    result.resident = blocks_that_fit(model, setup, result.peak_bytes);
  }
  budget.set_limit(setup.memory_bytes);
  budget.reset_peak();
  return result;
}

std::vector<MaxBatchResult> probe_max_batches(comm::Communicator& communicator, const model::Model& model,
                                              const RankSetup& setup, MemoryBudget& budget,
                                              const MaxBatchOptions& options) {
  MaxBatchResult mine;
  comm::agree(communicator,
              [&] { mine = probe_max_batch(model, setup, communicator.rank(), communicator.size(), budget, options); });
  std::vector<MaxBatchResult> results;
  for (const std::string& text : comm::all_gather_text(communicator, json_text(to_json(mine)))) {
    results.push_back(result_from(Json::parse(text)));
  }
  return results;
}

RankSetup with_resident_blocks(const model::Model& model, const RankSetup& setup, int rank, int ranks,
                               MemoryBudget& budget, std::int64_t largest) {
  if (!plan::traits_of(setup.strategy.mode).streams || setup.strategy.resident) return setup;
  const MaxBatchOptions options;
  const Probe probe{model, setup, rank, ranks, budget, options};
  budget.set_limit(setup.memory_bytes);
  const Attempt none_resident = probe.attempt(largest);
  RankSetup decided = setup;
  // What does not fit with none resident will say so in training.
  decided.strategy.resident = none_resident.fits ? blocks_that_fit(model, setup, none_resident.peak_bytes) : 0;
  return decided;
}

bool fits(const model::Model& model, const RankSetup& setup, int rank, int ranks, MemoryBudget& budget,
          std::int64_t batch) {
  const MaxBatchOptions options;
  const Probe probe{model, setup, rank, ranks, budget, options};
  budget.set_limit(setup.memory_bytes);
  return probe.attempt(batch).fits;
}

void require_fit_somewhere(const std::vector<MaxBatchResult>& results, const std::string& model,
                           const RankSetup& setup) {
  if (std::any_of(results.begin(), results.end(), [](const auto& result) { return result.max_batch > 0; })) return;
  std::string needs;
  for (const MaxBatchResult& result : results) {
    needs += fmt::format("{}rank {} ({}) has {} and needs {}{}", needs.empty() ? "" : "; ", result.rank, result.host,
                         format_size(result.memory_bytes), result.needs_more ? "more than " : "",
                         format_size(result.needed_bytes));
  }
  throw RunError(fmt::format("{} does not fit with one sample: {}; {}", model, needs, memory_advice(setup)));
}

Json max_batch_to_json(const std::vector<MaxBatchResult>& results, const std::string& model, const RankSetup& setup) {
  Json json = file_header(model, setup);
  json["ranks"] = Json::array();
  for (const MaxBatchResult& result : results) json["ranks"].push_back(to_json(result));
  return json;
}

}  // namespace lshdp::measure
