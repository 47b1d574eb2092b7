// GradientQueue: takes gradients off the device, on a thread, while the next block's are computed.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/core/device.h"
#include "lshdp/parallel/store.h"

namespace lshdp::parallel {

/// A block's gradients on their way to the host.
struct BlockGradients {
  std::size_t block = 0;
  std::vector<at::Tensor> gradients;
  Event computed;  // the device has them
  std::int64_t step = 0;
  bool completes_bucket = false;  // the last of this rank for the block's bucket in this step
  Update update;
};

/// One block's gradients are added while the next block's are computed. They are let go when the next ones come (those
/// of block 0, which none follow, when they are added): so how much memory is in use does not depend on how fast the
/// thread is, and what a probe measures holds for every run.
class GradientQueue {
 public:
  /// `add` is called on the thread, in the order of push(), when the device has the gradients. `on_error` is called on
  /// the thread if it ends with an error; nothing is added after that.
  GradientQueue(ComputeDevice& device, std::function<void(const BlockGradients&)> add,
                std::function<void(std::exception_ptr)> on_error);
  ~GradientQueue();

  /// Returns once the gradients pushed before are added and gone.
  void push(BlockGradients gradients);
  /// Ends the thread. What it has not begun to add is dropped.
  void stop();

 private:
  void loop();

  ComputeDevice& device_;
  std::function<void(const BlockGradients&)> add_;
  std::function<void(std::exception_ptr)> on_error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  BlockGradients held_;
  bool pending_ = false;  // held_ is not added yet
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace lshdp::parallel
