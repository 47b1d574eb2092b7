// A program whose ranks fail in a chosen way, so that a test can see how with_ranks ends them. usage: ranks_that_fail
// WAY
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>

#include "lshdp/cli/launch.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"

namespace {

void fail(const std::string& way, lshdp::comm::Communicator& communicator) {
  const int rank = communicator.rank();
  if (way == "agreed") {
    lshdp::comm::agree(communicator, [&] {
      if (rank == 1) throw lshdp::UsageError("data.h5: truncated");
    });
  }
  if (way == "run" && rank == 1) throw lshdp::RunError("out of memory at step 7");
  if (way == "usage" && rank == 2) throw lshdp::UsageError("--total: too large");
  if (way == "foreign" && rank == 1) throw std::runtime_error("first line\nframe #0: somewhere");
  if (way == "killed" && rank == 1) std::raise(SIGKILL);
  communicator.barrier();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string way = argc > 1 ? argv[1] : "";
  const int rank = lshdp::cli::launch_rank();
  if (way == "before" && rank == 0) std::this_thread::sleep_for(std::chrono::seconds(std::stoi(argv[2])));
  if (way == "before" || (way == "one-before" && rank == 2))
    return lshdp::cli::fail_before_ranks("sample", "--total: too large", 2);
  return lshdp::cli::with_ranks("sample", [&](auto& communicator) { fail(way, communicator); });
}
