// Data parallel layouts, pipelines and what lies between, compared.
#include "lshdp/plan/layout_planner.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checked_json.h"
#include "data_layouts.h"
#include "filled_layout.h"
#include "in_flight.h"
#include "layout_cost.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "mixed_search.h"
#include "pipeline_search.h"

namespace lshdp::plan {
namespace {

constexpr double kWorthMixing = 1.02;     // less is not known so well that a layout with more parts is worth it
constexpr double kWorthOther = 1 - 1e-6;  // times as long: GPipe holds more in memory, so that it must be faster
constexpr double kSame = 1.0005;          // steps whose ratio is below take as long as each other, to people

constexpr std::array kLayoutKinds{"data", "pipeline", "auto"};  // as LayoutKind

struct Found {
  Layout layout;
  double seconds = 0;
};

/// What is known while layouts are compared.
class Planner {
 public:
  Planner(const Profile& profile, const LayoutOptions& options)
      : profile_(profile), options_(options), cost_(profile, options.total), least_with_(profile.ranks.size(), 0.0) {
    for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
      if (cost_.blocks().times(rank).known()) ranks_.push_back(rank);
    }
  }

  LayoutSolution solve() {
    if (options_.kind != LayoutKind::pipeline) try_data_parallel();
    if (options_.kind != LayoutKind::data) try_pipelines();
    if (options_.kind == LayoutKind::automatic && options_.stages == StageCut::automatic) try_mixed();
    if (!best_) throw_no_fit();
    LayoutSolution solution;
    LayoutPrediction prediction = filled(cost_, best_->layout, layout_step(cost_, best_->layout));
    solution.layout = std::move(prediction.layout);
    solution.idle_share = std::move(prediction.idle_share);
    solution.bound_by = std::move(prediction.bound_by);
    solution.alternatives = std::move(alternatives_);
    solution.left_out = left_out(solution.layout);
    solution.least_step_seconds = least_step_seconds();
    return solution;
  }

 private:
  /// `worth`: how many times as fast as the best one so far it must be.
  void consider(const std::string& name, std::optional<Found> found, const std::string& why_not, double worth = 1) {
    alternatives_.push_back({name, found ? found->seconds : 0, found ? "" : why_not});
    if (found && (!best_ || worth * found->seconds < best_->seconds)) best_ = std::move(found);
  }

  void note(const std::vector<double>& least_with) {
    for (std::size_t rank = 0; rank < least_with.size(); ++rank) {
      if (least_with[rank] == 0) continue;
      least_with_[rank] = least_with_[rank] == 0 ? least_with[rank] : std::min(least_with_[rank], least_with[rank]);
    }
  }

  void try_data_parallel() {
    DataLayouts layouts = data_layouts(profile_, options_.total);
    note(layouts.least_with);
    std::optional<Found> found;
    if (layouts.best) found = Found{std::move(layouts.best->layout), layouts.best->seconds};
    consider("data parallel", std::move(found), "no rank holds the whole model with one sample");
  }

  void try_pipelines() {
    if (profile_.strategy.mode != Mode::ddp) {
      refuse_stages(fmt::format("stages need --mode ddp, not {}", to_text(profile_.strategy.mode)));
    } else if (ranks_.size() < 2) {
      refuse_stages("there is one rank whose blocks were timed");
    } else if (const std::string few = too_few_blocks(); !few.empty()) {
      refuse_stages(few);
    } else {
      consider("one pipeline", best_pipeline(), "no pipeline fits the ranks' memory");
    }
  }

  /// A kind of layout that was asked for by name is not passed over in silence.
  void refuse_stages(const std::string& why) {
    if (options_.kind == LayoutKind::pipeline) throw UsageError("--layout pipeline: " + why);
    consider("one pipeline", std::nullopt, why);
  }

  /// Of the pipelines with the fixed cuts.
  std::string too_few_blocks() const {
    const CutRules rules(options_.needs);
    const std::size_t ranks = options_.stages == StageCut::automatic ? 2 : ranks_.size();
    const std::size_t stages = ranks + (rules.comes_back() ? 1 : 0);
    if (options_.needs.blocks >= stages) return "";
    return fmt::format("the model has {} blocks, but {} ranks ask for {} stages; leave ranks out, or --stages auto",
                       options_.needs.blocks, ranks, stages);
  }

  std::optional<Found> best_pipeline() {
    std::optional<Found> best;
    for (const PipelineSchedule schedule : schedules()) {
      PipelineSearch search(cost_, options_.needs, schedule);
      PipelineTask task{.ranks = ranks_,
                        .batch = options_.total,
                        .cut = options_.stages,
                        .all_ranks = options_.stages != StageCut::automatic};
      if (best) task.to_beat = best->seconds;
      std::optional<RatedReplica> found = search.best(task);
      note(search.notes().least_with);
      if (search.notes().misfit && !misfit_) misfit_ = search.notes().misfit;
      if (found && (!best || found->seconds < kWorthOther * best->seconds))
        best = Found{{.blocks = options_.needs.blocks, .schedule = schedule, .replicas = {std::move(found->replica)}},
                     found->seconds};
    }
    return best;
  }

  void try_mixed() {
    if (profile_.strategy.mode != Mode::ddp || ranks_.size() < 3) return;
    MixedSearch search(cost_, options_.needs, options_.schedule.value_or(PipelineSchedule::one_f_one_b));
    const double to_beat = best_ ? best_->seconds : std::numeric_limits<double>::infinity();
    std::optional<MixedLayout> found = search.best({.ranks = ranks_, .total = options_.total, .to_beat = to_beat});
    note(search.least_with());
    std::optional<Found> mixed;
    if (found) mixed = Found{std::move(found->layout), found->seconds};
    consider("mixed", std::move(mixed), "none was found that is faster", kWorthMixing);
  }

  std::vector<PipelineSchedule> schedules() const {
    if (options_.schedule) return {*options_.schedule};
    return {PipelineSchedule::one_f_one_b, PipelineSchedule::gpipe};
  }

  [[noreturn]] void throw_no_fit() const {
    if (!misfit_) {
      throw UsageError(
          fmt::format("no rank can hold one sample of model {}; give the ranks more memory (--memory), or "
                      "take a smaller model",
                      profile_.model));
    }
    const Layout layout{.blocks = options_.needs.blocks, .replicas = {*misfit_}};
    const std::size_t stage = misfit_of(cost_, *misfit_, 1).value_or(0);
    throw UsageError("no layout fits; of the best try, " + describe_misfit(cost_, layout, 0, stage));
  }

  /// Each rank does the blocks that it is best at, without loss.
  double least_step_seconds() const {
    double speed = 0, model = 0;
    for (const std::size_t rank : ranks_) speed += cost_.samples_per_second(rank);
    for (std::size_t block = 0; block < cost_.blocks().blocks(); ++block) {
      double part = std::numeric_limits<double>::infinity();
      for (const std::size_t rank : ranks_)
        part =
            std::min(part, cost_.samples_per_second(rank) * cost_.blocks().times(rank).least_seconds_per_sample(block));
      model += part;
    }
    return static_cast<double>(options_.total) * model / speed;
  }

  std::vector<std::string> left_out(const Layout& layout) const {
    std::vector<std::string> sentences;
    for (std::size_t rank = 0; rank < profile_.ranks.size(); ++rank) {
      if (!replica_of(layout, static_cast<std::int64_t>(rank)))
        sentences.push_back(fmt::format("Rank {} ({}) is left out: {}.", rank, profile_.ranks[rank].host,
                                        why_left_out(rank, layout.predicted.step_seconds)));
    }
    return sentences;
  }

  std::string why_left_out(std::size_t rank, double seconds) const {
    if (!cost_.blocks().times(rank).known()) return "the whole model does not fit it, and its blocks were not timed";
    const double with = least_with_[rank];
    if (with == 0) return "nothing that was looked at has a place for it";
    if (with < kSame * seconds) return "the best layout with it takes as long";
    return fmt::format("the best layout found with it takes {}, {:.2f} times as long", format_seconds(with),
                       with / seconds);
  }

  const Profile& profile_;
  const LayoutOptions& options_;
  PipelineCost cost_;
  std::vector<std::size_t> ranks_;  // whose blocks were timed
  std::vector<double> least_with_;  // by rank: the shortest step seen with it; 0: none
  std::vector<LayoutAlternative> alternatives_;
  std::optional<Found> best_;
  std::optional<Replica> misfit_;
};

template <typename Kind, std::size_t count>
Kind kind_from_text(const std::array<const char*, count>& names, std::string_view text, std::string_view option) {
  const auto found = std::ranges::find(names, text);
  if (found != names.end()) return static_cast<Kind>(found - names.begin());
  throw UsageError(fmt::format("{}: unknown '{}'; use one of {}", option, text, fmt::join(names, ", ")));
}

LayoutOptions with_needs(LayoutOptions options, const Profile& profile) {
  if (options.needs.blocks == 0) options.needs = needs_of(profile);
  if (options.needs.blocks != profile.blocks.size()) {
    throw UsageError(fmt::format("the model has {} blocks, but the profile {}; profile this model",
                                 options.needs.blocks, profile.blocks.size()));
  }
  return options;
}

}  // namespace

LayoutKind layout_kind_from_text(std::string_view text) {
  return kind_from_text<LayoutKind>(kLayoutKinds, text, "--layout");
}

bool is_layout_kind(std::string_view text) { return std::ranges::find(kLayoutKinds, text) != kLayoutKinds.end(); }

StageCut stage_cut_from_text(std::string_view text) {
  return kind_from_text<StageCut>(std::array{"uniform", "speed", "profiled", "auto"}, text, "--stages");
}

LayoutSolution solve_layout(const Profile& profile, const LayoutOptions& options) {
  if (options.total < 1 || options.total > kLargestBatch)
    throw UsageError(fmt::format("--total must be from 1 to {}, not {}", kLargestBatch, options.total));
  const LayoutOptions complete = with_needs(options, profile);
  Profile bounded = profile;
  for (RankProfile& rank : bounded.ranks)
    rank.memory_bytes = static_cast<std::int64_t>(options.memory_share * static_cast<double>(rank.memory_bytes));
  return Planner(bounded, complete).solve();
}

}  // namespace lshdp::plan
