// Between a thread that writes buckets and one that changes them.
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "state_gate.h"

namespace lshdp::train {
namespace {

TEST(StateGate, LetsEverythingPassWhileNothingIsToBeWritten) {
  StateGate gate;
  gate.wait(3);
  EXPECT_EQ(gate.next(), std::nullopt);
  EXPECT_EQ(gate.waited_seconds(), 0);
}

TEST(StateGate, HandsBucketsOutInOrderOnce) {
  StateGate gate;
  gate.close({4, 2, 0});
  EXPECT_EQ(gate.next(), 4U);
  EXPECT_EQ(gate.next(), 2U);
  EXPECT_EQ(gate.next(), 0U);
  EXPECT_EQ(gate.next(), std::nullopt);
}

TEST(StateGate, LetsABucketChangeOnceItIsWritten) {
  StateGate gate;
  gate.close({1, 0});
  EXPECT_EQ(gate.next(), 1U);
  gate.written(1);
  gate.wait(1);
  std::atomic<bool> passed = false;
  std::jthread updates([&] {
    gate.wait(0);
    passed = true;
  });
  EXPECT_EQ(gate.next(), 0U);
  EXPECT_FALSE(passed);
  gate.written(0);
  updates.join();
  EXPECT_TRUE(passed);
}

/// A bucket that is waited for is written before the others.
TEST(StateGate, WritesFirstWhatIsWaitedFor) {
  StateGate gate;
  gate.close({9, 8, 7, 6});
  std::jthread updates([&] { gate.wait(7); });
  std::vector<std::size_t> order;
  // The thread may not have come to wait yet: what is written before it does is in order.
  while (!gate.waits()) std::this_thread::yield();
  while (const auto bucket = gate.next()) {
    order.push_back(*bucket);
    gate.written(*bucket);
  }
  EXPECT_EQ(order, (std::vector<std::size_t>{7, 9, 8, 6}));
  updates.join();
  EXPECT_GT(gate.waited_seconds(), 0);
}

TEST(StateGate, LetsNobodyWaitOnceWritingIsGivenUp) {
  StateGate gate;
  gate.close({1, 0});
  std::jthread updates([&] { gate.wait(0); });
  gate.open();
  updates.join();
  EXPECT_EQ(gate.next(), std::nullopt);
  gate.wait(1);
}

}  // namespace
}  // namespace lshdp::train
