// Changing how a communicator cuts and sends: only by all ranks together, alike, and between operations.
#include <numeric>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

#include "comm_fixture.h"

namespace lshdp::comm {
namespace {

constexpr SendSizes kSmall{.segment_bytes = 1000, .sends_in_flight = 2};
constexpr SendSizes kOther{.segment_bytes = 64 << 10, .sends_in_flight = 7};

class SendingSizes : public test::OnRanks {
 protected:
  void SetUp() override { make({}); }

  /// Bits of an all-reduce, a reduce-scatter with its gather, and a broadcast of values that rounding would show in.
  std::vector<float> results() {
    constexpr std::int64_t kCount = 50'000;
    std::vector<float> all;
    for (int kind = 0; kind < 3; ++kind) {
      std::vector<float> data(kCount);
      for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = 1.0F / static_cast<float>(static_cast<int>(i) + 3 + 7 * rank());
      const Buffer vector{data.data(), kCount, DataType::float32};
      if (kind == 0) communicator().all_reduce_sum(vector).wait();
      if (kind == 1) {
        communicator().reduce_scatter_sum(vector, equal_shards(kCount, size())).wait();
        communicator().all_gather(vector, equal_shards(kCount, size())).wait();
      }
      if (kind == 2) communicator().broadcast(vector, size() - 1).wait();
      all.insert(all.end(), data.begin(), data.end());
    }
    return all;
  }
};

TEST_F(SendingSizes, ChangeNoBitOfAnyResult) {
  EXPECT_EQ(communicator().send_sizes(), SendSizes{});
  const std::vector<float> before = results();
  for (const SendSizes& sizes : {kSmall, kOther, SendSizes{400, 1}, SendSizes{}}) {
    communicator().set_send_sizes(sizes);
    EXPECT_EQ(communicator().send_sizes(), sizes);
    EXPECT_EQ(results(), before);
  }
}

TEST_F(SendingSizes, ThatDifferBetweenRanksAreRefusedOnEveryRank) {
  if (size() == 1) return;
  const std::vector<float> before = results();
  SendSizes own = kSmall;
  own.segment_bytes += rank() == size() - 1 ? 4 : 0;
  EXPECT_THROW(communicator().set_send_sizes(own), std::invalid_argument);
  own = {kSmall.segment_bytes, rank() == 0 ? 3 : 2};
  EXPECT_THROW(communicator().set_send_sizes(own), std::invalid_argument);
  EXPECT_EQ(communicator().send_sizes(), SendSizes{});
  EXPECT_EQ(results(), before);
}

TEST_F(SendingSizes, OutOfRangeAreRefused) {
  for (const SendSizes& bad : {SendSizes{0, 4}, SendSizes{1000, 0}, SendSizes{-1, 4}, SendSizes{1LL << 40, 4}})
    EXPECT_THROW(communicator().set_send_sizes(bad), std::invalid_argument);
  EXPECT_EQ(communicator().send_sizes(), SendSizes{});
}

TEST_F(SendingSizes, StayWhileAnyRankHasAnOperationUnderWay) {
  std::vector<float> data(20'000, static_cast<float>(rank()));
  const Buffer vector{data.data(), 20'000, DataType::float32};
  // Under way on every rank once it has called; it can only end after the last rank has started.
  Work work = communicator().all_reduce_sum(vector, {.tag = 5, .deferred = true});
  EXPECT_THROW(communicator().set_send_sizes(kSmall), std::logic_error);
  work.start();
  work.wait();
  EXPECT_EQ(data.back(), static_cast<float>(size() * (size() - 1) / 2));
  // On one rank only: a message to itself that nobody else knows of.
  if (size() > 1) {
    std::byte byte{};
    Work one;
    if (rank() == 0) one = communicator().receive({&byte, 1, DataType::byte}, 1);
    EXPECT_THROW(communicator().set_send_sizes(kSmall), std::logic_error);
    if (rank() == 1) communicator().send({&byte, 1, DataType::byte}, 0).wait();
    one.wait();
  }
  communicator().barrier();
  communicator().set_send_sizes(kSmall);
  EXPECT_EQ(communicator().send_sizes(), kSmall);
}

TEST_F(SendingSizes, GoOnToSubgroupsMadeLaterOnly) {
  std::vector<int> everybody(static_cast<std::size_t>(size()));
  std::iota(everybody.begin(), everybody.end(), 0);
  auto before = communicator().subgroup(everybody);
  communicator().set_send_sizes(kOther);
  auto after = communicator().subgroup(everybody);
  EXPECT_EQ(before->send_sizes(), SendSizes{});
  EXPECT_EQ(after->send_sizes(), kOther);
  for (Communicator* group : {before.get(), after.get()}) {
    std::vector<double> data(40'000, 1);
    group->all_reduce_sum({data.data(), 40'000, DataType::float64}).wait();
    EXPECT_EQ(data.front() + data.back(), 2 * size());
    group->barrier();
  }
}

}  // namespace
}  // namespace lshdp::comm
