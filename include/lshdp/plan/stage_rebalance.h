// StageRebalancer: decides between two steps whether a pipeline is cut anew, from how long its ranks really computed.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "lshdp/plan/layout.h"
#include "lshdp/plan/profile.h"
#include "lshdp/plan/rebalance.h"
#include "lshdp/plan/step_windows.h"

namespace lshdp::plan {

/// The same pipeline with other cuts: ranks, their order and micro-batches are those there were.
struct Recut {
  Layout layout;                     // with all that can be predicted
  std::vector<double> slowness;      // by rank: how many times as long as profiled it computes now
  double step_seconds = 0;           // measured with the cuts so far
  double expected_step_seconds = 0;  // with the new ones
};

struct StageRebalanceOptions {
  RebalanceOptions rebalance = {};
  LayoutNeeds needs = {};      // blocks 0: needs_of(profile)
  std::int64_t last_step = 0;  // of the run, counted from 1; 0: not known
  std::int64_t horizon = 50;   // steps in which a move must have saved what it takes
  double memory_share = 1;     // as LayoutOptions
};

/// Watches a run of one pipeline and cuts it again where ranks have drifted from their profile.
///
/// A rank's slowness is the time its stages took over what the profile says of them. The network is taken to stay as it
/// was profiled. New cuts are taken only where they save min_gain in each of the last two windows of steps, and within
/// `horizon` steps more than the blocks take on their way: values and both moments over the links of the ranks. A rank
/// must have memory for its new stages, and between the steps for the blocks that come beside those that it has. Where
/// cuts did not keep half of what they promised, twice the gain is asked of the next.
class StageRebalancer {
 public:
  /// `layout`: of one replica with two stages or more. Throws UsageError on profiles without times of blocks.
  StageRebalancer(Layout layout, Profile profile, const StageRebalanceOptions& options);

  const Layout& layout() const { return layout_; }
  /// A step of a whole batch. Steps that began with earlier cuts are passed over.
  void observe(const StepObservation& step);
  /// Cuts that are worth changing to, if there are.
  std::optional<Recut> decide();
  /// From step `first` on, ranks follow `change`.
  void apply(const Recut& change, std::int64_t first);

 private:
  std::vector<double> slowness_in(Steps steps) const;
  bool pays(const Recut& change) const;

  Layout layout_;
  Profile profile_;
  StageRebalanceOptions options_;
  StepWindows windows_;           // of the current cuts
  std::vector<double> slowness_;  // by rank, as last decided
  std::int64_t first_step_ = 0;   // of the current cuts
  std::int64_t seen_ = 0;         // the last step
  RequiredGain required_gain_;
};

/// Seconds that the blocks which change their rank take on their way, by the busiest link. Both of one replica.
double move_seconds(const Profile& profile, const Layout& from, const Layout& to);

}  // namespace lshdp::plan
