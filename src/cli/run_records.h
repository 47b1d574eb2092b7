// The records of metrics.jsonl, read back.
#pragma once
#include <cstddef>
#include <string>

#include "lshdp/core/json.h"
#include "lshdp/train/metrics.h"

namespace lshdp::cli {

// Figures that were no numbers (written as null) are NaN; those that older programs did not write are as StepRecord and
// RunRecord have them by default. Each throws UsageError naming `source` and the key: a missing one, another version,
// figures that are not one for each of `ranks`.
train::RunRecord run_from_json(const Json& json, const std::string& source);
train::StepRecord step_from_json(const Json& json, std::size_t ranks, const std::string& source);
train::RebalanceRecord rebalance_from_json(const Json& json, std::size_t ranks, const std::string& source);
train::EvaluationRecord evaluation_from_json(const Json& json, const std::string& source);

}  // namespace lshdp::cli
