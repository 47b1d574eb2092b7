// A program of which one rank stops itself, at the start or in mid-run. usage: silent_rank start|run RANK; the rank
// prints its process number first.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include <unistd.h>

#include "lshdp/comm/connections.h"
#include "lshdp/core/log.h"

namespace {

void stop_here() {
  std::printf("stopped %d\n", getpid());
  std::fflush(stdout);
  std::raise(SIGSTOP);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string when = argc > 2 ? argv[1] : "";
  const int silent = argc > 2 ? std::atoi(argv[2]) : 0;
  lshdp::comm::MpiSession session(&argc, &argv);
  lshdp::configure_log("info", session.rank());
  try {
    if (when == "start" && session.rank() == silent) stop_here();
    lshdp::comm::require_connections(session, when == "start" ? 1.0 : 60.0);
    const auto communicator =
        lshdp::comm::make_mpi_communicator(session, {.beat_seconds = 0.1, .standstill_seconds = 1});
    communicator->barrier();
    if (session.rank() == silent) stop_here();
    communicator->barrier();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(1);
  }
}
