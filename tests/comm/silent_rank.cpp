// A program of which one rank stops itself, at the start or in mid-run, or waits as for a disk.
// usage: silent_rank start|run|disk RANK [LIMIT]; the rank prints its process number first.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

#include <unistd.h>

#include "lshdp/comm/connections.h"
#include "lshdp/core/activity.h"
#include "lshdp/core/log.h"

namespace {

void say_number() {
  std::printf("stopped %d\n", getpid());
  std::fflush(stdout);
}

void stop_here() {
  say_number();
  std::raise(SIGSTOP);
}

/// Until a signal comes. Only this thread: what the communicator does goes on.
void wait_here() {
  sigset_t wished;
  sigemptyset(&wished);
  sigaddset(&wished, SIGCONT);
  say_number();
  lshdp::note_activity(lshdp::Doing::reading_data, 17);
  int got = 0;
  sigwait(&wished, &got);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string when = argc > 2 ? argv[1] : "";
  const int silent = argc > 2 ? std::atoi(argv[2]) : 0;
  const double limit = argc > 3 ? std::atof(argv[3]) : 0;
  sigset_t wished;
  sigemptyset(&wished);
  sigaddset(&wished, SIGCONT);
  if (when == "disk") pthread_sigmask(SIG_BLOCK, &wished, nullptr);  // in the threads of MPI as well
  lshdp::comm::MpiSession session(&argc, &argv);
  lshdp::configure_log("info", session.rank());
  try {
    if (when == "start" && session.rank() == silent) stop_here();
    lshdp::comm::require_connections(session, when == "start" ? 1.0 : 60.0);
    const auto communicator = lshdp::comm::make_mpi_communicator(
        session, {.beat_seconds = 0.1, .standstill_seconds = 2, .operation_limit_seconds = limit});
    communicator->barrier();
    lshdp::note_activity(lshdp::Doing::forward, 17, 3);
    communicator->barrier();
    if (session.rank() == silent && when == "run") {
      // The others must have heard what it was at.
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      stop_here();
    }
    if (session.rank() == silent && when == "disk") wait_here();
    communicator->barrier();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(1);
  }
}
