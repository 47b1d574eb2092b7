// MPI_Abort with a limit.
#include "abort_ranks.h"

#include <chrono>
#include <thread>

#include <mpi.h>
#include <unistd.h>

namespace lshdp::comm {
namespace {

constexpr std::chrono::seconds kTimeToAbort{5};

}  // namespace

void abort_ranks(int exit_code) {
  std::thread([exit_code] {
    std::this_thread::sleep_for(kTimeToAbort);
    _exit(exit_code);
  }).detach();
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

}  // namespace lshdp::comm
