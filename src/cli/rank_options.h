// The options that say how ranks compute, the same for max-batch, profile and train.
#pragma once
#include "lshdp/cli/options.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/measure/rank_setup.h"

namespace lshdp::cli {

/// Adds --mode, --offload, --resident, --precision, --wire, --recompute, --offload-activations, --device, --memory,
/// --threads, --emulate-speed, --standstill and --operation-limit.
void add_rank_options(Options& options);

/// What they say; measure::set_up_rank makes a rank's part of it. Throws UsageError naming the option, also for modes
/// and devices that this version does not have.
measure::RankRequest rank_request(const Values& values);

/// What --standstill and --operation-limit say, where the command has them. Throws UsageError.
comm::EngineOptions engine_options(const Values& values);

/// Adds --comm, for commands whose ranks exchange gradients.
void add_communicator_option(Options& options);

/// What it says, see measure::make_device_communicator(). Throws UsageError where --wire does not go with it.
std::string communicator_request(const Values& values);

}  // namespace lshdp::cli
