// A Communicator without a network: one rank's memory and work, nobody else's data.
#pragma once
#include <memory>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// Rank `rank` of `size` as far as buffers and shards go; every operation is done at once and leaves the data as they
/// are (for size 1 that is the right result). For memory probes and timing without the network, and for single-process
/// runs.
std::unique_ptr<Communicator> make_null_communicator(int rank, int size);

}  // namespace lshdp::comm
