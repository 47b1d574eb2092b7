// trace.json: what every rank did when, on one clock.
#pragma once
#include <filesystem>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/trace.h"

namespace lshdp::train {

/// Rank 0 writes all ranks' spans to `path`, for Perfetto. Clocks of different hosts are brought together by a barrier,
/// to about a latency. All ranks must call it; throws AgreedError if the file cannot be written.
void write_run_trace(comm::Communicator& communicator, const Trace& trace, const std::filesystem::path& path);

}  // namespace lshdp::train
