// MPI_Init and MPI_Finalize.
#include <cstdlib>

#include <fmt/format.h>
#include <mpi.h>

#include "abort_ranks.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {
namespace {

constexpr int kMaxSegment = 4 << 20;  // that plan/transfer_sizes.h chooses
constexpr int kHeader = 64 << 10;     // room for Open MPI's; it takes a few hundred bytes

/// Settings of Open MPI that the user has not made.
void tune() {
  // Without mpirun, Open MPI would start a daemon for processes that we never spawn. It removes its folder after we
  // have ended, maybe just when the next program makes it.
  setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  // The engine sleeps by itself between tests. A yield in every test that finds nothing would hand the core to whoever
  // computes beside it, for a whole slice of the scheduler.
  setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0);
  // Segments go at once: the engine has asked the receiver already (Engine::exchange_clear_to_send). Open MPI's own
  // question and answer for long messages would wait behind the segments of the other direction in the same socket,
  // until the link carries one direction at a time.
  for (const char* limit : {"eager_limit", "rndv_eager_limit", "max_send_size"})
    setenv(fmt::format("OMPI_MCA_btl_tcp_{}", limit).c_str(), fmt::format("{}", kMaxSegment + kHeader).c_str(), 0);
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) : owns_(!was_started()) {
  int provided = 0;
  if (owns_) {
    tune();
    if (MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS)
      throw RunError("MPI cannot be started");
  } else {
    MPI_Query_thread(&provided);
  }
  if (provided < MPI_THREAD_MULTIPLE)
    throw RunError(
        "this MPI library was built without MPI_THREAD_MULTIPLE, which lshdp needs: use another build of it");
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
}

MpiSession::~MpiSession() {
  if (owns_) MPI_Finalize();
}

bool MpiSession::was_started() {
  int flag = 0;
  MPI_Initialized(&flag);
  return flag != 0;
}

int MpiSession::rank() const { return rank_; }

int MpiSession::size() const { return size_; }

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string all(text, static_cast<std::size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

void MpiSession::abort(int exit_code) { abort_ranks(exit_code); }

}  // namespace lshdp::comm
