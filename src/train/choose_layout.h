// Where the layout of a run comes from: --layout data, pipeline, auto or a file.
#pragma once
#include <cstdint>
#include <string>

#include "lshdp/comm/communicator.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/profile.h"
#include "lshdp/train/choose_plan.h"

namespace lshdp::train {

/// Whether blocks may lie on some ranks only.
bool asks_for_stages(const PlanRequest& request);

/// What is asked of the planner. Throws UsageError naming --layout, --stages or --pipeline-schedule.
plan::LayoutOptions layout_options(const model::Model& model, const PlanRequest& request);

/// Throws UsageError naming the option that does not go with stages.
void require_stages_possible(const PlanRequest& request, const measure::RankSetup& setup);

/// The layout of the file --layout, by rank 0's word: checked against the model, the ranks, --total and the strategy.
/// Throws AgreedError. All ranks must call it.
plan::Layout given_layout(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                          const PlanRequest& request);

/// The fastest layout for `profile`, by rank 0's word, who says what else it looked at. Throws AgreedError. All ranks
/// must call it.
plan::Layout planned_layout(comm::Communicator& communicator, const model::Model& model, const plan::Profile& profile,
                            const PlanRequest& request);

/// Whether --layout names a file.
bool is_layout_file(const PlanRequest& request);

}  // namespace lshdp::train
