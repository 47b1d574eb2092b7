// How LibTorch is told that a thread stays alone.
#include "helper_thread.h"

#include <future>
#include <utility>

#include <ATen/Parallel.h>

namespace lshdp::parallel {

std::thread start_helper(std::function<void()> work) {
  // The number is of the thread that sets it and of all threads that come later: it is set back here.
  const int threads = at::get_num_threads();
  std::promise<void> alone;
  std::thread helper([&alone, work = std::move(work)] {
    at::set_num_threads(1);
    alone.set_value();
    work();
  });
  alone.get_future().wait();
  at::set_num_threads(threads);
  return helper;
}

}  // namespace lshdp::parallel
