// Plan: what each rank shall do in a step, as `lshdp optimize` solves it and batches.json keeps it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/plan/strategy.h"
#include "lshdp/plan/transfer_sizes.h"

namespace lshdp::plan {

/// By rank: each owns a shard of every vector in proportion, maybe none; 1000 is an equal share as we write it. Empty:
/// equal.
using ShardWeights = std::vector<std::int64_t>;

struct RankPlan {
  int rank = 0;
  std::string host;
  std::int64_t batch = 0;                   // samples a step
  std::vector<std::int64_t> micro_batches;  // in the order of training; they add up to batch; empty for batch 0
};

/// Micro-batches of a rank that holds the whole model, in the order that is best: the largest last, the next largest
/// first, since a step's transfers hide behind the backward of the last and the forward of the first.
std::vector<std::int64_t> in_training_order(std::vector<std::int64_t> micro_batches);

/// The micro-batches of a step in which the rank has `samples`, at most its batch. Fewer samples,
/// at the end of an epoch, fill fewer of them.
std::vector<std::int64_t> micro_batches_of(const RankPlan& rank, std::int64_t samples);

/// What the solver expects of a step, in seconds.
struct Prediction {
  double step_seconds = 0;
  double samples_per_second = 0;
  std::vector<double> compute_seconds;  // by rank: forward, backward and update
  double communication_seconds = 0;     // the wire's part of the step
  double exposed_seconds = 0;           // of it, not hidden behind compute
};

/// A run without some ranks, solved anew (leave_out.h).
struct LeaveOut {
  std::vector<std::int64_t> ranks;  // that are left out, rising
  double step_seconds = 0;
  double samples_per_second = 0;
};

struct Plan {
  std::string model;                 // empty in a plan written by hand
  std::optional<Strategy> strategy;  // that it was solved for; none in a plan written by hand
  std::int64_t total = 0;
  std::vector<RankPlan> ranks;
  Prediction predicted;                        // step_seconds 0: not predicted (a plan written by hand)
  double equal_split_step_seconds = 0;         // 0: not known, or the equal split does not fit
  std::optional<LeaveOut> leave_out = {};      // none: not known, or each rank is worth having
  ShardWeights shard_weights;                  // ddp
  std::optional<TransferSizes> transfer = {};  // none: those that a run begins with
};

/// Samples a step, by rank.
std::vector<std::int64_t> batches_of(const Plan& plan);

/// batches.json, version 1, and the short form {"version":1,"batches":[16,16,48,48]}, whose micro-batches are one per
/// rank. A rank's "shard_weight" is there where shards are unequal, then of every rank; "transfer" where sizes in
/// flight were chosen. The reader throws UsageError naming the source and key: wrong version, negative batch, all
/// batches 0, shard weights of some ranks only, micro-batches that do not add up to their batch or are not positive,
/// batches that do not add up to the total, ranks not 0..N-1 in order, sizes in flight out of range.
nlohmann::json to_json(const Plan& plan);
Plan plan_from_json(const nlohmann::json& json, const std::string& source);
Plan read_plan(const std::filesystem::path& path);
void write_plan(const std::filesystem::path& path, const Plan& plan);

/// The object "predicted" of batches.json, metrics.jsonl and summary.json: null where nothing was predicted
/// (step_seconds 0). The reader throws UsageError naming the source and key: negative or non-finite figures, not one
/// compute time per rank.
nlohmann::json to_json(const Prediction& predicted);
Prediction prediction_from_json(const nlohmann::json& json, std::size_t ranks, const std::string& source);

/// A plan from batches alone ("8,8,24,24"): each rank's batch cut into the fewest, most equal micro-batches of at most
/// max_batch[r] samples (empty: no limit). Throws UsageError on a negative batch, or if all are 0.
Plan plan_from_batches(const std::vector<std::int64_t>& batches, const std::vector<std::int64_t>& max_batch = {});

}  // namespace lshdp::plan
