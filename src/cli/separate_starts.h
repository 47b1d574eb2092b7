// Processes that a launcher started together but that would not find each other.
#pragma once
#include <optional>
#include <string>

namespace lshdp::cli {

/// What a launcher other than Open MPI's says of itself in the environment.
struct OtherLauncher {
  std::string name;               // "srun"
  int processes = 1, number = 0;  // that it started, and which of them this is
  bool has_pmi = false;           // it offers the interface by which MPI's processes find each other
};

/// Read before MPI is up, which sets variables of its own; none under mpirun, or where one process was started alone.
std::optional<OtherLauncher> other_launcher();

/// For a process that is alone in MPI although `launcher` started several: why, and what to do.
std::string separate_starts_message(const OtherLauncher& launcher);

}  // namespace lshdp::cli
