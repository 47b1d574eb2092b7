// The environment of mpirun and srun, and messages of failed commands.
#include "lshdp/cli/launch.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <unistd.h>

#include "lshdp/core/clock.h"

namespace lshdp::cli {

int launch_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    const char* text = std::getenv(name);
    if (text == nullptr) continue;
    int rank = 0;
    if (std::from_chars(text, text + std::strlen(text), rank).ec == std::errc{}) return rank;
  }
  return 0;
}

std::string one_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

void print_error(const std::string& command, const std::string& message) {
  std::fprintf(stderr, "lshdp%s%s: %s\n", command.empty() ? "" : " ", command.c_str(), message.c_str());
  std::fflush(stderr);
}

int fail_before_mpi(const std::string& command, const std::string& message, int exit_code) {
  const int rank = launch_rank();
  if (rank != 0) sleep_until(now_seconds() + 2);
  print_error(command, rank == 0 ? message : fmt::format("rank {}: {}", rank, message));
  return exit_code;
}

}  // namespace lshdp::cli
