// RootMessage: numbers of rank 0 that reach all ranks behind a step, without anybody waiting for them.
#pragma once
#include <optional>
#include <vector>

#include "lshdp/comm/communicator.h"

namespace lshdp::train {

/// All ranks make the same calls in the same order.
class RootMessage {
 public:
  explicit RootMessage(comm::Communicator& communicator) : communicator_(communicator) {}
  /// Waits for what is under way: the memory it arrives in goes.
  ~RootMessage();
  RootMessage(const RootMessage&) = delete;
  RootMessage& operator=(const RootMessage&) = delete;

  /// Begins to send `values`; they count on rank 0, and are as many on every rank. The one before was received.
  void send(std::vector<double> values);
  /// What was sent last, once; none: nothing was.
  std::optional<std::vector<double>> receive();

 private:
  comm::Communicator& communicator_;
  std::vector<double> values_;  // empty: none are under way
  comm::Work work_;
};

}  // namespace lshdp::train
