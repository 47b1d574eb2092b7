// Corrects a profile, whose parts were measured one after the other, by what steps of all parts together took.
#pragma once
#include <vector>

#include "lshdp/plan/layout.h"
#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// What steps of all ranks together showed.
struct MeasuredSteps {
  double step_seconds = 0;  // median
  // By rank, median: its optimizer work and the CPU time of transfers on the cores that compute included.
  std::vector<double> compute_seconds;
  double transfer_cpu_seconds = 0;  // CPU time of a rank's transfers in a step, mean over ranks; 0: not known
};

/// `steps` are of `plan`. Transfers in buckets, between the engine's sleeps, take more CPU time a byte than a long
/// all-reduce: network.cpu_seconds_per_byte becomes what they took. Beside them computing takes longer than alone, and
/// more of a step stays exposed than the boundary's bytes alone explain: each rank's times are multiplied by measured
/// over modelled (RankProfile::load), and network.exposed_factor likewise, so that the step model gives `plan` the time
/// measured. Ranks without samples keep theirs. Loads are kept within [1/2, 4], the boundary's within [1/2, 64].
Profile under_load(Profile profile, const Plan& plan, const MeasuredSteps& steps);

/// `steps` are of `layout`, which has stages and was predicted from `profile`: the times of each rank that it uses are
/// multiplied by what computing took over what was predicted, within [1/2, 4]. The network's figures stay.
Profile under_load(Profile profile, const Layout& layout, const MeasuredSteps& steps);

}  // namespace lshdp::plan
