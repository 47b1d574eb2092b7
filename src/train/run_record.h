// What a run says of itself when it begins: the first line of metrics.jsonl, and run.json.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/json.h"
#include "lshdp/model/model.h"
#include "lshdp/train/metrics.h"
#include "lshdp/train/trainer.h"
#include "run_data.h"

namespace lshdp::train {

/// Where the run that is described goes on from.
struct ResumePoint {
  std::filesystem::path checkpoint;  // empty: the run begins
  std::int64_t step = 0;             // updates done
  std::vector<std::string> changes;  // against the run that is resumed
};

/// All ranks must call it.
RunRecord describe_run(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
                       std::int64_t total, const ResumePoint& from);

/// What run.json says of this launch. `steps`: of the whole run. All ranks must call it.
Json describe_launch(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
                     const RunData& data, std::int64_t steps, const ResumePoint& from);

}  // namespace lshdp::train
