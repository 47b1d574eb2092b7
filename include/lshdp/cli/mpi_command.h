// Runs the body of a command on all ranks and sees to it that no failure leaves a rank waiting.
#pragma once
#include <functional>
#include <string>

#include "lshdp/comm/communicator.h"

namespace lshdp::cli {

/// Starts MPI, runs `body` with a communicator over all ranks, ends MPI. Returns the exit code. All ranks must call it,
/// once.
///
/// AgreedError (thrown on all ranks): rank 0 prints "lshdp COMMAND: message", MPI ends in order, its exit code is
/// returned. Anything else: this rank prints "lshdp COMMAND: rank R (HOST): message" and brings all ranks down. So what
/// differs between ranks (reading a file, a rank's memory) belongs into comm::agree or comm::on_rank_0. Destructors run
/// before this message: they must not wait for other ranks.
int with_ranks(const std::string& command, const std::function<void(comm::Communicator&)>& body);

}  // namespace lshdp::cli
