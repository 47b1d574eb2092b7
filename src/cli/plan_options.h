// Options that say where the batches of a run come from.
#pragma once
#include "lshdp/cli/options.h"
#include "lshdp/train/choose_plan.h"

namespace lshdp::cli {

/// Adds --batches, --total, --total-bound, --max-accumulation, --profile and --rebalance.
void add_plan_options(Options& options);

/// What they say. Throws UsageError naming the option.
train::PlanRequest plan_request(const Values& values);

}  // namespace lshdp::cli
