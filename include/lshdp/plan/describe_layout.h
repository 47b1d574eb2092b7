// Layouts as text for people: what `lshdp optimize --layout` prints.
#pragma once
#include <string>

#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/layout_prediction.h"

namespace lshdp::plan {

/// Replicas and stages with their blocks, seconds, memory and idle share; the step and what bounds it.
std::string describe(const Profile& profile, const LayoutPrediction& prediction);

/// The same, then what was compared and which ranks are left out, and why.
std::string describe(const Profile& profile, const LayoutSolution& solution);

}  // namespace lshdp::plan
