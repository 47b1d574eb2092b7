// Variables of Slurm's srun and of other MPIs' mpiexec.
#include "separate_starts.h"

#include <cstdlib>

#include <fmt/format.h>

#include "lshdp/cli/launch.h"

namespace lshdp::cli {
namespace {

bool is_set(const char* variable) { return std::getenv(variable) != nullptr; }

}  // namespace

std::optional<OtherLauncher> other_launcher() {
  if (is_set("OMPI_COMM_WORLD_SIZE")) return std::nullopt;
  const bool pmi = is_set("PMIX_NAMESPACE") || is_set("PMI_FD") || is_set("PMI_PORT");
  // SLURM_STEP_NUM_TASKS is srun's own; a batch script by itself has SLURM_NTASKS and process 0.
  const std::optional<int> process = number_in("SLURM_PROCID");
  const int tasks = process.value_or(0) > 0 ? number_in("SLURM_NTASKS").value_or(*process + 1) : 1;
  const int step_tasks = number_in("SLURM_STEP_NUM_TASKS").value_or(tasks);
  if (process && step_tasks > 1) return OtherLauncher{"srun", step_tasks, *process, pmi};
  if (const int size = number_in("PMI_SIZE").value_or(1); size > 1)
    return OtherLauncher{"another MPI's mpiexec", size, number_in("PMI_RANK").value_or(0), pmi};
  return std::nullopt;
}

std::string separate_starts_message(const OtherLauncher& launcher) {
  const bool slurm = launcher.name == "srun";
  return fmt::format(
      "{} started {} processes, but they do not find each other: each would be a run of its own; start "
      "them with {}",
      launcher.name, launcher.processes,
      slurm ? "mpirun, or with srun --mpi=pmix" : "Open MPI's mpirun, which this lshdp was built for");
}

}  // namespace lshdp::cli
