// StageExchange: what the stages of a pipeline send each other: activations forward, their gradients back.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"

namespace lshdp::parallel {

/// One message: `number` tells it from others of this rank that are under way, and is the same at both ends.
struct StageMessage {
  int peer = 0;
  std::size_t number = 0;
};

/// For the thread that computes. Messages of one number follow each other in the order of the calls, at both ends.
class StageExchange {
 public:
  /// Both must outlive it.
  StageExchange(comm::Communicator& communicator, ComputeDevice& device);
  /// Waits until nothing is under way; an abandoned communicator ends that.
  ~StageExchange();
  StageExchange(const StageExchange&) = delete;
  StageExchange& operator=(const StageExchange&) = delete;

  /// Sends `tensor`, contiguous, of the device; keeps it until it has left.
  void send(const StageMessage& message, const at::Tensor& tensor);
  /// Posts the receive of a tensor of this shape. It must not have been posted before.
  void expect(const StageMessage& message, const std::vector<std::int64_t>& shape, at::ScalarType type);
  /// Waits for what was expected: in host memory.
  at::Tensor receive(const StageMessage& message);
  /// Seconds that receive() has waited.
  double wait_seconds() const { return wait_seconds_; }

 private:
  struct Outgoing {
    at::Tensor tensor, wire;  // on the device, and where the network reads
    Event copied;
    comm::Work work;
  };
  struct Incoming {
    at::Tensor tensor;
    comm::Work work;
  };

  void finish(Outgoing& outgoing);
  void finish_done();
  at::Tensor wire_memory(const at::Tensor& tensor);

  comm::Communicator& communicator_;
  ComputeDevice& device_;
  std::map<std::size_t, Outgoing> outgoing_;
  std::map<std::size_t, Incoming> incoming_;
  std::vector<at::Tensor> spare_;  // memory that a device copies through, to use again
  double wait_seconds_ = 0;
};

}  // namespace lshdp::parallel
