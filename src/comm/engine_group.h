// What the engines of a process know together: which operation waits, and why the run ends.
#pragma once
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// An operation that another rank has not done its part of. Sent as it lies in memory.
struct WaitingOperation {
  std::array<char, 24> kind{};  // "reduce-scatter"; empty: there is none
  int tag = kInOrder;
  int peer = 0;  // the rank of MPI_COMM_WORLD that it waits for
  bool exists() const { return kind[0] != 0; }
};
WaitingOperation waiting_operation(std::string_view kind, int tag, int peer);

/// "reduce-scatter of bucket 5", "all-reduce"
std::string describe(const WaitingOperation& operation);

/// Shared by the engine of all ranks and those of its subgroups. Any thread may call.
class EngineGroup {
 public:
  /// What `engine` waits for; an operation that does not exist: nothing.
  void note(const void* engine, const WaitingOperation& operation);
  /// Of one of the engines.
  WaitingOperation waiting() const;

  /// All engines fail with `why` from now on. The first call counts.
  void end(const std::string& why);
  bool ended() const { return ended_; }
  std::string why() const;

 private:
  mutable std::mutex mutex_;
  std::map<const void*, WaitingOperation> waiting_;
  std::string why_;
  std::atomic<bool> ended_ = false;
};

}  // namespace lshdp::comm
