// Where the batches of a run come from: --batches equal, auto, a list or a file.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"

namespace lshdp::train {

/// What is asked for, before any rank is known.
struct PlanRequest {
  std::string batches;  // "equal", "auto", a list such as "8,8,24,24", or a file
  std::optional<std::int64_t> total;
  std::int64_t max_accumulation = 0;
  double total_bound = 4;        // without a total: plan::SolverOptions
  std::int64_t samples = 0;      // of the data, known later
  bool memory_given = false;     // --memory: batches given by hand are tried out against it
  std::string profile;           // file that given batches were solved from, or a given layout was planned from
  std::int64_t rebalance = 0;    // steps between decisions whether to split or cut anew; 0: off
  bool rebalance_given = false;  // by name: refused where it cannot be done
  std::string layout = "data";   // every rank has the whole model; or "pipeline", "auto", or a file of layout.json
  std::string stages = "auto";   // how a pipeline is cut: plan::StageCut
  std::string pipeline_schedule = "auto";  // plan::PipelineSchedule, or the better
};

/// Whether `batches` is a list of numbers, and no word or file.
bool is_batch_list(const std::string& batches);

/// Where an earlier profile may be found.
struct PlanFolder {
  std::filesystem::path folder;  // the run directory; empty: nowhere
  bool resumed = false;          // of a run that goes on: its profile is used where the set-up is the same
};

/// Whether a profile that was measured with the set-up `then` holds for `now`: hosts, devices, threads, model and
/// options are the same, and no rank has much less memory. Both as PlanChoice::measured_with.
bool is_same_setup(nlohmann::json then, nlohmann::json now);

struct PlanChoice {
  plan::Plan plan;
  std::optional<plan::Layout> layout = {};     // where blocks lie on some ranks only; `plan` is its plan_of()
  std::vector<std::int64_t> max_batch;         // by rank; empty: not known
  std::optional<plan::Profile> profile;        // measured now, or --profile; alike ranks pooled
  std::optional<plan::Profile> measured = {};  // now, as it is to be kept in profile.json; none: nothing was
  nlohmann::json measured_with = {};           // the set-up that profile.json was measured with; null: none was
};

/// The plan of this run, the same on every rank. "auto" measures a profile and solves it; a run that is resumed with
/// the set-up of its profile.json, which no disturbance marks, measures nothing. Writes no file. Throws AgreedError: a
/// plan for other ranks, another model or strategy, batches that do not add up to --total or do not fit --memory, a
/// total beyond the `samples` of the data, a --profile that does not fit. All ranks must call it.
PlanChoice choose_plan(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                       MemoryBudget& budget, const PlanRequest& request, std::int64_t samples, const PlanFolder& run);

}  // namespace lshdp::train
