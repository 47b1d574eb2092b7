// Many operations at once: in another order on each rank, deferred, urgent or not, with tags used again and again.
#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {
namespace {

constexpr int kOperations = 24;

class InFlight : public test::OnRanks {
 protected:
  /// Tags 0 .. kOperations-1 in an order of this rank's own.
  std::vector<int> own_order(unsigned seed) const {
    std::vector<int> order(kOperations);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed * 100 + static_cast<unsigned>(rank())));
    return order;
  }
  static std::int64_t count_of(int tag) { return 40 + 1700 * (tag % 7); }
  static Buffer buffer_of(std::vector<float>& data) {
    return {data.data(), static_cast<std::int64_t>(data.size()), DataType::float32};
  }
  std::vector<float> values(int tag) const {
    return std::vector<float>(static_cast<std::size_t>(count_of(tag)), static_cast<float>(tag + rank()));
  }
  float sum(int tag) const { return static_cast<float>(size() * tag + size() * (size() - 1) / 2); }
};

TEST_F(InFlight, OperationsMatchByTagWhateverTheOrderOfCalls) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    std::vector<std::vector<float>> data(kOperations);
    std::vector<Work> works;
    for (const int tag : own_order(seed)) {
      auto& vector = data[static_cast<std::size_t>(tag)] = values(tag);
      works.push_back(communicator().all_reduce_sum(buffer_of(vector), {.tag = tag, .priority = rank() + tag % 3}));
    }
    for (Work& work : works) work.wait();
    for (int tag = 0; tag < kOperations; ++tag)
      for (const float value : data[static_cast<std::size_t>(tag)]) ASSERT_EQ(value, sum(tag));
  }
}

TEST_F(InFlight, OneAfterTheOtherInOppositeOrdersDoesNotDeadlock) {
  // Each rank waits for the operations in its own order, so a peer's sends wait for receives that are posted much
  // later.
  std::vector<std::vector<float>> data(kOperations);
  std::vector<Work> works(kOperations);
  for (int i = 0; i < kOperations; ++i) {
    const int tag = rank() % 2 == 0 ? i : kOperations - 1 - i;
    auto& vector = data[static_cast<std::size_t>(tag)] = values(tag);
    works[static_cast<std::size_t>(tag)] = communicator().all_reduce_sum(buffer_of(vector), {.tag = tag});
    sleep_until(now_seconds() + 0.002);
  }
  for (Work& work : works) work.wait();
  for (int tag = 0; tag < kOperations; ++tag) EXPECT_EQ(data[static_cast<std::size_t>(tag)].back(), sum(tag));
}

TEST_F(InFlight, DeferredOperationsMayStartInAnyOrder) {
  for (unsigned seed = 0; seed < 3; ++seed) {
    std::vector<std::vector<float>> data(kOperations);
    std::vector<Work> works(kOperations);
    for (const int tag : own_order(seed)) {
      auto& vector = data[static_cast<std::size_t>(tag)];
      vector.assign(static_cast<std::size_t>(count_of(tag)), -1.0F);
      works[static_cast<std::size_t>(tag)] = communicator().reduce_scatter_sum(
          buffer_of(vector), equal_shards(count_of(tag), size()), {.tag = tag, .deferred = true});
    }
    for (const int tag : own_order(seed + 50)) {
      const auto i = static_cast<std::size_t>(tag);
      EXPECT_FALSE(works[i].done());
      std::fill(data[i].begin(), data[i].end(), static_cast<float>(tag + rank()));
      works[i].start();
    }
    for (int tag = 0; tag < kOperations; ++tag) {
      works[static_cast<std::size_t>(tag)].wait();
      const Shards shards = equal_shards(count_of(tag), size());
      for (std::int64_t at = shards.begin(rank()); at < shards.end(rank()); ++at)
        ASSERT_EQ(data[static_cast<std::size_t>(tag)][static_cast<std::size_t>(at)], sum(tag));
    }
  }
}

TEST_F(InFlight, TellsOnceWhenAnOperationIsDoneOrHasFailed) {
  std::vector<float> data(5000, 1.0F);
  std::atomic<int> told = 0;
  Work work = communicator().all_reduce_sum(buffer_of(data));
  work.when_done([&] { ++told; });
  work.wait();
  while (told == 0) sleep_until(now_seconds() + 0.001);  // the waiter may be woken first
  work.when_done([&] { ++told; });
  EXPECT_EQ(told, 2);
  Work unstarted = communicator().all_reduce_sum(buffer_of(data), {.deferred = true});
  unstarted.when_done([&] { ++told; });
  make({});
  EXPECT_EQ(told, 3);
}

TEST_F(InFlight, AStepOfTwoHalvesRunsManyTimesOnTheSameTags) {
  constexpr int kBlocks = 4, kSteps = 40;
  const std::int64_t count = 3000;
  const Shards shards = equal_shards(count, size(), 16);
  std::vector<std::vector<float>> gradients(kBlocks, std::vector<float>(count)),
      parameters(kBlocks, std::vector<float>(count));
  std::mt19937 random(static_cast<unsigned>(rank()));
  std::vector<Work> gathers(kBlocks);
  for (int step = 0; step < kSteps; ++step) {
    std::vector<Work> reductions(kBlocks);
    for (int block = 0; block < kBlocks; ++block) {
      const auto b = static_cast<std::size_t>(block);
      gathers[b].wait();
      if (step > 0) {
        for (const float value : parameters[b]) ASSERT_EQ(value, static_cast<float>(size() * (step - 1 + block)));
      }
      reductions[b] =
          communicator().reduce_scatter_sum(buffer_of(gradients[b]), shards, {.tag = block, .deferred = true});
      gathers[b] = communicator().all_gather(buffer_of(parameters[b]), shards,
                                             {.tag = kBlocks + block, .priority = 10 + block, .deferred = true});
    }
    for (int block = kBlocks - 1; block >= 0; --block) {
      const auto b = static_cast<std::size_t>(block);
      if (random() % 8 == 0) sleep_until(now_seconds() + 0.001);
      std::fill(gradients[b].begin(), gradients[b].end(), static_cast<float>(step + block));
      reductions[b].start();
    }
    for (int block = 0; block < kBlocks; ++block) {
      const auto b = static_cast<std::size_t>(block);
      reductions[b].wait();
      std::copy(gradients[b].begin() + shards.begin(rank()), gradients[b].begin() + shards.end(rank()),
                parameters[b].begin() + shards.begin(rank()));
      gathers[b].start();
    }
  }
  for (Work& gather : gathers) gather.wait();
}

TEST_F(InFlight, TagsMayServeOneKindOfOperationAfterAnother) {
  for (int repetition = 0; repetition < 60; ++repetition) {
    const std::int64_t count = 1 + 977 * (repetition % 4);
    std::vector<float> data(static_cast<std::size_t>(count), 1.0F);
    communicator().all_reduce_sum(buffer_of(data), {.tag = 5}).wait();
    ASSERT_EQ(data.back(), static_cast<float>(size()));
    const int root = repetition % size();
    data.assign(data.size(), static_cast<float>(rank()));
    communicator().broadcast(buffer_of(data), root, {.tag = 5}).wait();
    ASSERT_EQ(data.front(), static_cast<float>(root));
  }
}

TEST_F(InFlight, ATagUnderWayIsRefusedAndFreeAfterwards) {
  std::vector<float> first(10, 1.0F), second(10, 1.0F);
  Work work = communicator().all_reduce_sum(buffer_of(first), {.tag = 3, .deferred = true});
  EXPECT_THROW(communicator().all_reduce_sum(buffer_of(second), {.tag = 3}), std::invalid_argument);
  work.start();
  work.wait();
  communicator().all_reduce_sum(buffer_of(second), {.tag = 3}).wait();
  EXPECT_EQ(second.front(), static_cast<float>(size()));
}

TEST_F(InFlight, StartIsForDeferredOperationsOnce) {
  std::vector<float> data(10);
  Work work = communicator().all_reduce_sum(buffer_of(data));
  EXPECT_THROW(work.start(), std::logic_error);
  work.wait();
  Work deferred = communicator().all_reduce_sum(buffer_of(data), {.deferred = true});
  EXPECT_EQ(deferred.began(), 0);
  deferred.start();
  EXPECT_THROW(deferred.start(), std::logic_error);
  deferred.wait();
  EXPECT_TRUE(deferred.done());
  EXPECT_GE(deferred.finished(), deferred.began());
}

TEST_F(InFlight, TheUrgentOvertakesTheLong) {
  if (size() == 1) GTEST_SKIP() << "nothing is sent";
  std::vector<float> large(1'000'000, 1.0F), urgent(50'000, 1.0F);
  Work slow = communicator().all_reduce_sum(buffer_of(large), {.tag = 0, .priority = 5});
  Work quick = communicator().all_reduce_sum(buffer_of(urgent), {.tag = 1, .priority = 0});
  quick.wait();
  slow.wait();
  EXPECT_LT(quick.finished(), slow.finished());
  EXPECT_EQ(urgent.back(), static_cast<float>(size()));
  EXPECT_EQ(large.back(), static_cast<float>(size()));
}

TEST_F(InFlight, SeveralThreadsMayCallAndWait) {
  std::vector<std::thread> threads;
  std::vector<float> results(4);
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      for (int repetition = 0; repetition < 10; ++repetition) {
        std::vector<float> data(2000, static_cast<float>(thread));
        communicator().all_reduce_sum(buffer_of(data), {.tag = thread}).wait();
        results[static_cast<std::size_t>(thread)] = data.back();
      }
    });
  for (auto& thread : threads) thread.join();
  for (int thread = 0; thread < 4; ++thread)
    EXPECT_EQ(results[static_cast<std::size_t>(thread)], static_cast<float>(size() * thread));
}

TEST_F(InFlight, WorkOfADestroyedCommunicatorFails) {
  std::vector<float> data(10);
  Work work = communicator().all_reduce_sum(buffer_of(data), {.deferred = true});
  make({});
  EXPECT_THROW(work.wait(), RunError);
}

TEST_F(InFlight, WorkOfAnAbandonedCommunicatorFailsAtOnce) {
  std::vector<float> data(5000);
  Work unstarted = communicator().all_reduce_sum(buffer_of(data), {.tag = 1, .deferred = true});
  communicator().abandon();
  EXPECT_THROW(unstarted.wait(), RunError);
  EXPECT_THROW(communicator().all_reduce_sum(buffer_of(data)).wait(), RunError);
  make({});
}

TEST_F(InFlight, AMessageOfAnotherLengthFailsAtTheReceiver) {
  if (size() == 1) GTEST_SKIP() << "nobody to send to";
  for (const std::size_t received : {10, 30}) {
    std::vector<float> sent_data(20), data(received);
    if (rank() == 0) communicator().send(buffer_of(sent_data), 1).wait();
    if (rank() == 1) {
      EXPECT_THROW(communicator().receive(buffer_of(data), 0).wait(), RunError);
      // After a failure nothing works any more, and says so.
      EXPECT_THROW(communicator().all_reduce_sum(buffer_of(data)).wait(), RunError);
    }
    make({});
  }
}

}  // namespace
}  // namespace lshdp::comm
