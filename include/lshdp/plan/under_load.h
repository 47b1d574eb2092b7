// Corrects a profile, whose parts were measured one after the other, by what steps of all parts together took.
#pragma once
#include <span>

#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Steps of `plan` took `step_seconds` (median); of them rank r computed compute_seconds[r], its optimizer work and the
/// CPU time of transfers on the cores that compute included. Beside transfers computing takes longer than alone, and
/// more of a step stays exposed than the boundary's bytes alone explain. The result is the profile with each rank's
/// times multiplied by measured over modelled (RankProfile::load), and network.boundary_load likewise: its step model
/// gives `plan` the time measured. Ranks without samples keep theirs. Loads are kept within [1/2, 4], the
/// boundary's within [1/2, 64].
Profile under_load(Profile profile, const Plan& plan, double step_seconds, std::span<const double> compute_seconds);

}  // namespace lshdp::plan
