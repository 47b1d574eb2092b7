// Which rank this process is before MPI is up, and how a command that failed says so.
#pragma once
#include <exception>
#include <string>

namespace lshdp::cli {

/// This process's rank from what mpirun or srun put into the environment; 0 if neither started it.
int launch_rank();

/// What `error` says, in one line (libraries add traces on further lines).
std::string one_line(const std::exception& error);

/// "lshdp COMMAND: message" on stderr.
void print_error(const std::string& command, const std::string& message);

/// For an error that every rank is expected to meet before MPI is up: rank 0 prints it and returns `exit_code` at once.
/// Other ranks wait to be ended by the launcher, which kills what is left when a rank fails and could otherwise silence
/// rank 0; if they are still there after two seconds, they were the only ones to fail, and say so.
int fail_before_mpi(const std::string& command, const std::string& message, int exit_code);

}  // namespace lshdp::cli
