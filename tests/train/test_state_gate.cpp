// Between a thread that writes buckets and one that changes them.
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "state_gate.h"

namespace lshdp::train {
namespace {

TEST(StateGate, LetsEverythingPassWhileNothingIsToBeWritten) {
  StateGate gate(0);
  gate.before_update(3, 1);
  EXPECT_EQ(gate.next(), std::nullopt);
  EXPECT_EQ(gate.waited_seconds(), 0);
}

TEST(StateGate, HandsBucketsOutInOrderOnce) {
  StateGate gate(5);
  gate.close({4, 2, 0}, 5);
  EXPECT_EQ(gate.next(), 4U);
  EXPECT_EQ(gate.next(), 2U);
  EXPECT_EQ(gate.next(), 0U);
  EXPECT_EQ(gate.next(), std::nullopt);
}

TEST(StateGate, LetsABucketChangeOnceItIsWritten) {
  StateGate gate(1);
  gate.close({1, 0}, 1);
  EXPECT_EQ(gate.next(), 1U);
  gate.written(1);
  gate.before_update(1, 2);
  std::atomic<bool> passed = false;
  std::jthread updates([&] {
    gate.before_update(0, 2);
    passed = true;
  });
  EXPECT_EQ(gate.next(), 0U);
  EXPECT_FALSE(passed);
  gate.written(0);
  updates.join();
  EXPECT_TRUE(passed);
}

/// The save's own step is still at work: its updates pass, and what they have changed can be written.
TEST(StateGate, HandsABucketOutOnceTheStepHasChangedIt) {
  StateGate gate(0);
  gate.after_update(0, 2);
  gate.after_update(1, 2);
  gate.close({1, 0}, 3);
  gate.before_update(0, 3);
  gate.after_update(0, 3);
  EXPECT_EQ(gate.next(), 0U);
  std::jthread updates([&] {
    gate.before_update(1, 3);
    gate.after_update(1, 3);
  });
  EXPECT_EQ(gate.next(), 1U);
  EXPECT_EQ(gate.next(), std::nullopt);
}

/// A bucket that is waited for is written before the others.
TEST(StateGate, WritesFirstWhatIsWaitedFor) {
  StateGate gate(1);
  gate.close({9, 8, 7, 6}, 1);
  std::jthread updates([&] { gate.before_update(7, 2); });
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
  StateGate gate(0);
  gate.close({1, 0}, 1);
  std::jthread updates([&] { gate.before_update(0, 2); });
  std::jthread writer([&] { EXPECT_EQ(gate.next(), std::nullopt); });  // no bucket has taken step 1
  gate.open();
  updates.join();
  writer.join();
  gate.before_update(1, 2);
}

}  // namespace
}  // namespace lshdp::train
