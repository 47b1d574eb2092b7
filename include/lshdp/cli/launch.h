// Which rank this process is before MPI is up, and how a command that failed says so.
#pragma once
#include <optional>
#include <string>

namespace lshdp::cli {

/// The number in an environment variable; none if it is not set or does not begin with one.
std::optional<int> number_in(const char* variable);

/// This process's rank from what mpirun or srun put into the environment; 0 if neither started it.
int launch_rank();

/// How many ranks mpirun started; 1 if it did not start this process.
int ranks_of_mpirun();

/// What is said of an error of which not even a text is known.
inline constexpr const char* kNoWords = "an error that lshdp has no words for; please report the command";

/// "lshdp COMMAND: message" on stderr.
void print_error(const std::string& command, const std::string& message);

}  // namespace lshdp::cli
