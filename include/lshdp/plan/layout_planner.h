// The planner: which ranks hold which blocks, for how much of the batch, so that a step is as short as possible.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lshdp/plan/layout.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Layouts that are looked at: data parallel, one pipeline, or these and replicas of several stages.
enum class LayoutKind : std::uint8_t { data, pipeline, automatic };

/// How the blocks of a pipeline are cut. All but automatic have every rank that was timed, in rank order:
/// uniform: equal numbers of blocks; speed: in proportion to each rank's samples a second; profiled: by the measured
/// times of blocks, so that the slowest stage is as fast as can be. automatic: as profiled, and the order of ranks, the
/// number of stages and who is left out are free.
enum class StageCut : std::uint8_t { uniform, speed, profiled, automatic };

/// Names as on the command line: "data", "pipeline", "auto"; "uniform", "speed", "profiled", "auto". The readers throw
/// UsageError naming --layout and --stages.
LayoutKind layout_kind_from_text(std::string_view text);
/// Whether --layout is one of these, and not a file.
bool is_layout_kind(std::string_view text);
StageCut stage_cut_from_text(std::string_view text);

/// For layouts that are to be trained (LayoutOptions::memory_share).
inline constexpr double kSafeMemoryShare = 15.0 / 16;

struct LayoutOptions {
  std::int64_t total = 0;  // samples a step
  LayoutKind kind = LayoutKind::automatic;
  StageCut stages = StageCut::automatic;
  std::optional<PipelineSchedule> schedule = {};  // none: the better
  LayoutNeeds needs = {};                         // blocks 0: needs_of(profile)
  /// Of each rank's memory that stages may fill. What is predicted leaves out batches that are loaded ahead and a
  /// block's values as they are set: small models took up to a tenth more.
  double memory_share = 1;
};

/// The best layout of one kind.
struct LayoutAlternative {
  std::string name;         // "data parallel", "one pipeline", "mixed"
  double step_seconds = 0;  // 0: there is none
  std::string why_not;      // then: a sentence without a full stop
};

struct LayoutSolution {
  Layout layout;                                // with all that can be predicted
  std::vector<LayoutAlternative> alternatives;  // what was compared
  std::vector<std::string> left_out;            // a sentence for each rank that the layout does without, and why
  std::vector<double> idle_share;               // by rank, of the step; 1: left out
  std::string bound_by;                         // for people: "compute of rank 3 (node3), busy for 90 % of the step"
  /// No layout of these ranks has a shorter step, whatever was not looked at: computing spread without loss.
  double least_step_seconds = 0;
};

/// The fastest layout for `profile` that is found (docs/solver.md, "Layouts": what is exact and what is not). Never
/// slower than the best one found on a subset of the ranks, one rank included. Throws UsageError if no layout of the
/// kind asked for fits memory (which stage of the best try needs what), if the model has fewer blocks than ranks where
/// every rank is to have a stage, and on profiles without times of blocks.
LayoutSolution solve_layout(const Profile& profile, const LayoutOptions& options);

}  // namespace lshdp::plan
