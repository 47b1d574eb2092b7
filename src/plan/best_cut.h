// The cut of one pipeline whose ranks, order and micro-batches are given.
#pragma once
#include <functional>
#include <optional>

#include "cut_rules.h"
#include "lshdp/plan/layout.h"
#include "pipeline_cost.h"

namespace lshdp::plan {

/// What a step of `layout` takes, by `cost`. Stages that state in_flight keep it; others get what the schedule has.
/// Memory is not looked at.
double step_seconds_of(const PipelineCost& cost, const Layout& layout);

/// The fastest cut that is found from the cuts of `layout` and from those with the least busiest stage, moved while the
/// simulated step gets shorter; with in_flight and all that can be predicted. Only cuts that fit memory and that `may`
/// accepts; none: there is none.
std::optional<Layout> best_cut(const PipelineCost& cost, const Layout& layout, const LayoutNeeds& needs,
                               const std::function<bool(const Replica&)>& may);

}  // namespace lshdp::plan
