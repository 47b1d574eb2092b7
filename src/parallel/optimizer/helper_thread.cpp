// How LibTorch is told of how many threads a thread may use.
#include "optimizer/helper_thread.h"

#include <algorithm>
#include <future>
#include <utility>

#include <ATen/Parallel.h>

namespace lshdp::parallel {

std::thread start_helper(std::function<void()> work, int threads) {
  // The number is of the thread that sets it and of all threads that come later: it is set back here.
  const int before = at::get_num_threads();
  std::promise<void> told;
  std::thread helper([&told, threads, work = std::move(work)] {
    at::get_num_threads();  // the first operation of a thread would ask for the number of all, and forget this one
    at::set_num_threads(threads);
    told.set_value();
    work();
  });
  told.get_future().wait();
  at::set_num_threads(before);
  return helper;
}

int host_team(const ComputeDevice& device) {
  return device.has_own_memory() ? std::max(1, at::get_num_threads() - 1) : 1;
}

}  // namespace lshdp::parallel
