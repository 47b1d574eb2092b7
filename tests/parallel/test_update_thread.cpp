// The update thread computes with the rank's idle cores where a device computes beside it.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "lshdp/comm/null_communicator.h"
#include "optimizer/update_thread.h"
#include "support/detached_device.h"

namespace lshdp::parallel {
namespace {

/// Notes how many threads tensor operations of an update would use.
struct NotesThreads final : BucketWork {
  void finish_reduce(std::size_t) override {}
  double mean_squared_norm(std::size_t, const Update&) override {
    of_norm = at::get_num_threads();
    return 0;
  }
  void update(std::size_t, const Update&, double) override { of_update = at::get_num_threads(); }
  void send_parameters(std::size_t) override {}
  int of_norm = 0, of_update = 0;
};

/// One update beside `device`, by a rank of `threads`.
NotesThreads updated_beside(ComputeDevice& device, int threads) {
  at::set_num_threads(threads);
  const auto communicator = comm::make_null_communicator(0, 1);
  NotesThreads work;
  UpdateThread thread(work, 1, *communicator, device, 2, nullptr, std::nullopt);
  thread.deliver(0, 1, {.step = 1, .global_terms = 1});
  thread.wait_updated(0);
  thread.stop(false);
  EXPECT_EQ(at::get_num_threads(), threads) << "of the thread that made it";
  return work;
}

TEST(UpdateThread, HasAllThreadsButOneWhereADeviceComputes) {
  test::DetachedDevice device;
  const NotesThreads work = updated_beside(device, 4);
  EXPECT_EQ(work.of_norm, 3);
  EXPECT_EQ(work.of_update, 3);
  EXPECT_EQ(updated_beside(device, 1).of_update, 1);
}

TEST(UpdateThread, StaysAloneWhereTheHostComputes) {
  const auto device = make_host_device();
  const NotesThreads work = updated_beside(*device, 4);
  EXPECT_EQ(work.of_norm, 1);
  EXPECT_EQ(work.of_update, 1);
}

}  // namespace
}  // namespace lshdp::parallel
