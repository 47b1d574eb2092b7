// The Communicator over Open MPI on host memory, and the MPI session of the process.
#pragma once
#include <memory>
#include <string>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// MPI_Init on construction, MPI_Finalize on destruction. One per process, made by main. Where MPI runs already (a
/// test's main), the session neither starts nor ends it. An error that not all ranks share must end in abort(), not in
/// the destructor: MPI_Finalize waits for all ranks.
class MpiSession {
 public:
  /// Throws RunError if MPI cannot be had with the thread support the engine needs.
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  /// Whether MPI has been started in this process, even if it has ended since.
  static bool was_started();
  int rank() const;
  int size() const;
  /// Brings all ranks down now (MPI_Abort). Does not return.
  [[noreturn]] void abort(int exit_code);

 private:
  bool owns_;
  int rank_ = 0, size_ = 1;
};

/// "Open MPI v4.1.4".
std::string mpi_version();

/// How the engine works, the same on all ranks; the defaults are measured at 1 Gb/s (docs/decisions.md). Other networks
/// get other sizes later, by Communicator::set_send_sizes.
struct EngineOptions {
  int sends_in_flight = SendSizes{}.sends_in_flight;
  std::int64_t segment_bytes = SendSizes{}.segment_bytes;
  double max_sleep_seconds = 2e-3;  // between tests for completion; a quarter of it while a small message is awaited
  double beat_seconds = 2;          // ranks tell each other so often what they do, or oftener
  // A rank that stands still is named in the log within so long: one that gives no sign of life, or that waits for a
  // disk or its memory while others wait for it.
  double standstill_seconds = 10;
  double operation_limit_seconds = 900;  // if it stands still for so long, all operations fail; 0: never
};

/// A Communicator over all ranks of MPI_COMM_WORLD, on its own duplicated MPI communicator with its own engine thread.
/// All ranks must call it, in the same order among such calls. The session must outlive it; destroy it on all ranks.
std::unique_ptr<Communicator> make_mpi_communicator(const MpiSession& session, const EngineOptions& options = {});

}  // namespace lshdp::comm
