// Runs the body of a command on all ranks and sees to it that no failure leaves a rank waiting.
#pragma once
#include <functional>
#include <string>

#include "lshdp/cli/options.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/comm/connections.h"

namespace lshdp::cli {

/// Starts MPI, runs `body` with a communicator over all ranks, ends MPI. Returns the exit code. All ranks must call it,
/// once. Ranks that cannot reach each other are found first.
///
/// AgreedError (thrown on all ranks): rank 0 prints "lshdp COMMAND: message", MPI ends in order, its exit code is
/// returned. Anything else: this rank prints "lshdp COMMAND: rank R (HOST): message" and brings all ranks down. So what
/// differs between ranks (reading a file, a rank's memory) belongs into comm::agree or comm::on_rank_0. Destructors run
/// before this message: they must not wait for other ranks.
int with_ranks(const std::string& command, const std::function<void(comm::Communicator&)>& body,
               double connection_seconds = comm::kConnectionLimit);

/// The same for a command with `values`: before `body`, all ranks must turn out to run one program with one command
/// line on the same files (AgreedError of exit code 2 that names what differs).
int with_ranks(const std::string& command, const Values& values, const std::function<void(comm::Communicator&)>& body);

/// For an error met before with_ranks; returns `exit_code`. Rank 0 prints it and returns at once: mpirun then ends the
/// others, which met it as well. Those wait in MPI: if rank 0 did not fail, it is in with_ranks, where it learns of the
/// error and prints it. So one rank prints it, however late the others are.
int fail_before_ranks(const std::string& command, const std::string& message, int exit_code);

/// For a process that is done without with_ranks, because it was only asked for `what` ("help"). Under mpirun it meets
/// the other ranks: if these run a command, all end as with_ranks ends where commands differ. Returns the exit code.
int end_without_ranks(const std::string& what);

/// print_output on rank 0. Throws AgreedError. All ranks must call it.
void print_on_rank_0(comm::Communicator& communicator, const std::string& text);

}  // namespace lshdp::cli
