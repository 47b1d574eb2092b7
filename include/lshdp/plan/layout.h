// Layout: which rank holds which blocks of the model, for how much of a step's batch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/plan/plan.h"

namespace lshdp::plan {

/// What is expected of one micro-batch of the replica's largest size on a stage, in seconds.
struct StageTime {
  double forward_seconds = 0, backward_seconds = 0;
  double send_seconds = 0;  // of what the stage gives to the next one; the gradient that comes back takes as long
  bool operator==(const StageTime&) const = default;
};

/// Consecutive blocks [start, end) of the model on one rank.
struct Stage {
  std::int64_t rank = 0;
  std::size_t start = 0, end = 0;
  /// Micro-batches whose activations the stage may hold at a time, at least 1; none: as the schedule has it
  /// (in_flight_of).
  std::optional<std::int64_t> in_flight = {};
  std::optional<StageTime> predicted = {};  // none: a layout written by hand
  std::int64_t predicted_bytes = 0;         // peak memory of the rank; 0: not predicted
  bool operator==(const Stage&) const = default;
};

/// 1f1b: a stage that holds as many micro-batches as it may does one backward and one forward by turns; gpipe: all
/// forwards of a step first (Huang et al., arXiv
/// 1811.06965; Narayanan et al., arXiv 2104.04473).
enum class PipelineSchedule : std::uint8_t { one_f_one_b, gpipe };

/// One copy of the model, cut into stages, and its share of every step's batch.
struct Replica {
  std::int64_t batch = 0;                        // samples a step, 1 or more
  std::vector<std::int64_t> micro_batches = {};  // samples each, in the order of training; they add up to batch
  std::vector<Stage> stages = {};  // in the order of blocks, from 0 to the model's last; a rank has one of them, or the
                                   // first and the last
  bool operator==(const Replica&) const = default;
};

/// Data parallel is one stage a replica, a pipeline is one replica. The gradients of a block are summed over the ranks
/// that hold it. A rank of no stage is left out.
struct Layout {
  std::string model = {};                 // empty: written by hand
  std::optional<Strategy> strategy = {};  // that it was planned for; none: written by hand
  std::size_t blocks = 0;                 // of the model
  PipelineSchedule schedule = PipelineSchedule::one_f_one_b;
  std::vector<Replica> replicas = {};
  Prediction predicted = {};  // step_seconds 0: not predicted
};

std::string to_text(PipelineSchedule schedule);  // "1f1b", "gpipe"
/// Throws UsageError naming --pipeline-schedule otherwise.
PipelineSchedule pipeline_schedule_from_text(std::string_view text);

/// Samples a step.
std::int64_t total_of(const Layout& layout);
/// Whether every replica has one stage.
bool is_data_parallel(const Layout& layout);
/// Whether each of `ranks` ranks has the whole model: such a layout is a plan of batches and no more.
bool is_plain(const Layout& layout, std::size_t ranks);
/// The replica that `rank` has a stage of; none: it is left out.
std::optional<std::size_t> replica_of(const Layout& layout, std::int64_t rank);
/// Indices of the stages of `replica` that `rank` has: none, one, or the first and the last.
std::vector<std::size_t> stages_of(const Replica& replica, std::int64_t rank);
/// Ranks that hold `block`, rising.
std::vector<int> holders_of(const Layout& layout, std::size_t block);
/// Micro-batches whose activations a stage may hold at a time: in_flight, or of S stages the S - s of 1F1B, or all of
/// gpipe. At most the replica's micro-batches.
std::int64_t in_flight_of(const Layout& layout, std::size_t replica, std::size_t stage);

/// layout.json, version 1:
///   {"version":1,"model":"gpt2","blocks":26,"schedule":"1f1b","replicas":[{"batch":40,"micro_batches":[20,20],
///    "stages":[{"rank":3,"start":0,"end":26,"in_flight":2}]}],"strategy":{..},"predicted":{..}}
/// "model", "blocks" (then the largest "end"), "schedule", "micro_batches" (then one), "in_flight", "strategy" and
/// what is predicted may be missing. The reader throws UsageError naming the source and key: wrong version, unknown
/// keys, no replica, no stage, a start that is not the end before (blocks missing or twice), an empty stage, a replica
/// that ends before the model does, a rank twice (but as first and last stage of one replica, with one between them),
/// micro-batches that do not add up to the batch or are not positive, in_flight below 1, an unknown schedule.
nlohmann::json to_json(const Layout& layout);
Layout layout_from_json(const nlohmann::json& json, const std::string& source);
Layout read_layout(const std::filesystem::path& path);
void write_layout(const std::filesystem::path& path, const Layout& layout);

/// What a model demands of its layouts.
struct LayoutNeeds {
  std::string model;
  std::size_t blocks = 0;
  /// Blocks that use a parameter of an earlier one (a tied embedding): {owner, user}. Both must be on one rank.
  std::vector<std::pair<std::size_t, std::size_t>> shared_parameters = {};
};

/// Throws UsageError, beginning with `source`: a layout of another model or another number of blocks, a rank that the
/// run of `ranks` does not have, blocks that share a parameter on different ranks (it names both and the remedy: first
/// and last stage on one rank).
void require_fits(const Layout& layout, const LayoutNeeds& needs, std::int64_t ranks, const std::string& source);

/// A plan of batches as the sampler and the report see it: each replica's batch and micro-batches stand at the rank of
/// its first stage, all other ranks have 0.
Plan plan_of(const Layout& layout, std::size_t ranks);
/// The rank of the first stage of the replica of `rank`, whose samples they both train; none: left out.
std::optional<int> data_rank_of(const Layout& layout, std::int64_t rank);

/// One line for each replica: "replica 0: 40 samples as 20+20: rank 3 blocks 0..25".
std::vector<std::string> describe(const Layout& layout);

}  // namespace lshdp::plan
