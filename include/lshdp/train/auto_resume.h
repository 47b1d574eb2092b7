// --resume auto: a run directory decides whether a run begins, goes on, or has nothing left to do.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/train/trainer.h"

namespace lshdp::train {

/// What --resume is given for it; a folder of that name is ./auto.
inline constexpr std::string_view kResumeAuto = "auto";

struct AutoResume {
  enum class Kind : std::uint8_t { begin, go_on, finished } kind = Kind::begin;
  std::filesystem::path resume;  // to go on: the run directory
  std::int64_t steps = 0;        // of a finished run
};

/// Looks at options.results, which this run has claimed, and logs on rank 0 in one line what follows from it. Weights
/// of as many steps as options.steps or options.epochs ask for: finished. Else a complete checkpoint: go on from the
/// newest good one, which train() finds. Else begin, in the place of a run that ended before its first checkpoint.
/// Throws AgreedError where weights are there that a new beginning would leave without a run, and where a finished run
/// had other settings (not with options.resume_with_changes). Of options.setup, the strategy must be there. `total`:
/// samples a step, where they are known by now. By rank 0's word; all ranks must call it.
AutoResume find_auto_resume(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
                            std::optional<std::int64_t> total);

}  // namespace lshdp::train
