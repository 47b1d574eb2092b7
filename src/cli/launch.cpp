// The environment of mpirun and srun, and messages of failed commands.
#include "lshdp/cli/launch.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "lshdp/core/text.h"

namespace lshdp::cli {

std::optional<int> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  int number = 0;
  if (text == nullptr || std::from_chars(text, text + std::strlen(text), number).ec != std::errc{}) return std::nullopt;
  return number;
}

int launch_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const auto rank = number_in(name)) return *rank;
  }
  return 0;
}

int ranks_of_mpirun() { return number_in("OMPI_COMM_WORLD_SIZE").value_or(1); }

void print_error(const std::string& command, const std::string& message) {
  std::fprintf(stderr, "lshdp%s%s: %s\n", command.empty() ? "" : " ", command.c_str(), printable(message).c_str());
  std::fflush(stderr);
}

}  // namespace lshdp::cli
