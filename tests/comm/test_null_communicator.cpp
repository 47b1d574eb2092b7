// The null communicator: data stay, arguments are checked, and errors agree on one rank.
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {
namespace {

class NullOfFour : public testing::Test {
 protected:
  NullOfFour() { std::iota(data.begin(), data.end(), 1.0F); }
  Buffer buffer() { return {data.data(), static_cast<std::int64_t>(data.size()), DataType::float32}; }

  std::unique_ptr<Communicator> communicator = make_null_communicator(2, 4);
  std::vector<float> data = std::vector<float>(10);
  Shards shards = equal_shards(10, 4);
};

TEST_F(NullOfFour, IsTheRankItWasToldToBe) {
  EXPECT_EQ(communicator->rank(), 2);
  EXPECT_EQ(communicator->size(), 4);
  EXPECT_THROW(make_null_communicator(4, 4), std::invalid_argument);
  EXPECT_THROW(make_null_communicator(0, 0), std::invalid_argument);
}

TEST_F(NullOfFour, LeavesDataAndIsDoneAtOnce) {
  const std::vector<float> before = data;
  for (Work work : {communicator->reduce_scatter_sum(buffer(), shards), communicator->all_gather(buffer(), shards),
                    communicator->all_reduce_sum(buffer()), communicator->broadcast(buffer(), 1),
                    communicator->all_to_all(buffer(), shards, buffer(), shards), communicator->send(buffer(), 1),
                    communicator->receive(buffer(), 3)}) {
    EXPECT_TRUE(work.done());
    work.wait();
    EXPECT_GT(work.began(), 0);
    EXPECT_GE(work.finished(), work.began());
  }
  communicator->barrier();
  EXPECT_EQ(data, before);
  EXPECT_EQ(communicator->counters().bytes_sent, 0);
}

TEST_F(NullOfFour, DefersUntilStart) {
  Work work = communicator->all_reduce_sum(buffer(), {.deferred = true});
  EXPECT_FALSE(work.done());
  int told = 0;
  work.when_done([&] { ++told; });
  EXPECT_EQ(told, 0);
  EXPECT_THROW(work.wait(), std::logic_error);
  work.start();
  EXPECT_EQ(told, 1);
  work.when_done([&] { ++told; });
  EXPECT_EQ(told, 2);
  EXPECT_TRUE(work.done());
  work.wait();
  EXPECT_THROW(work.start(), std::logic_error);
  EXPECT_THROW(communicator->all_reduce_sum(buffer()).start(), std::logic_error);
  EXPECT_THROW(Work().start(), std::logic_error);
}

TEST_F(NullOfFour, RefusesBuffersThatMakeNoSense) {
  EXPECT_THROW(communicator->all_reduce_sum({nullptr, 3, DataType::float32}), std::invalid_argument);
  EXPECT_THROW(communicator->all_reduce_sum({data.data(), -1, DataType::float32}), std::invalid_argument);
  EXPECT_THROW(communicator->all_reduce_sum({data.data(), 3, DataType::bfloat16}), std::invalid_argument);
  char* odd = reinterpret_cast<char*>(data.data()) + 1;
  EXPECT_THROW(communicator->all_reduce_sum({odd, 2, DataType::float32}), std::invalid_argument);
  EXPECT_NO_THROW(communicator->all_reduce_sum({nullptr, 0, DataType::float32}));
}

TEST_F(NullOfFour, RefusesShardsThatDoNotFit) {
  for (const auto& bounds : std::vector<std::vector<std::int64_t>>{
           {}, {0, 5, 10}, {0, 2, 4, 6, 9}, {1, 2, 4, 6, 10}, {0, 4, 2, 6, 10}, {0, 2, 4, 6, 8, 10}}) {
    EXPECT_THROW(communicator->reduce_scatter_sum(buffer(), Shards{bounds}), std::invalid_argument);
    EXPECT_THROW(communicator->all_gather(buffer(), Shards{bounds}), std::invalid_argument);
  }
}

TEST_F(NullOfFour, RefusesTagsRanksWiresAndScratchThatMakeNoSense) {
  EXPECT_THROW(communicator->all_reduce_sum(buffer(), {.tag = -2}), std::invalid_argument);
  EXPECT_THROW(communicator->all_reduce_sum(buffer(), {.tag = kLargestTag + 1}), std::invalid_argument);
  EXPECT_THROW(communicator->broadcast(buffer(), 4), std::invalid_argument);
  EXPECT_THROW(communicator->send(buffer(), -1), std::invalid_argument);
  EXPECT_THROW(communicator->send(buffer(), 2), std::invalid_argument);
  EXPECT_THROW(communicator->receive(buffer(), 2), std::invalid_argument);
  EXPECT_THROW(communicator->broadcast(buffer(), 0, {.wire = Wire::bf16}), std::invalid_argument);
  std::vector<double> doubles(3);
  EXPECT_THROW(communicator->all_reduce_sum({doubles.data(), 3, DataType::float64}, {.wire = Wire::bf16}),
               std::invalid_argument);
  std::vector<std::byte> scratch(scratch_bytes(shards, DataType::float32, 2));
  EXPECT_NO_THROW(communicator->reduce_scatter_sum(buffer(), shards, {.scratch = scratch}));
  scratch.pop_back();
  EXPECT_THROW(communicator->reduce_scatter_sum(buffer(), shards, {.scratch = scratch}), std::invalid_argument);
}

TEST(NullOfOne, CarriesTextAndErrors) {
  const auto one = make_null_communicator(0, 1);
  EXPECT_EQ(all_gather_text(*one, "a\nb"), std::vector<std::string>{"a\nb"});
  EXPECT_EQ(broadcast_text(*one, "text"), "text");
  EXPECT_EQ(on_rank_0(*one, [] { return std::string("result"); }), "result");
  EXPECT_EQ(all_gather_values(*one, 2.5), std::vector<double>{2.5});
  EXPECT_EQ(all_gather_hosts(*one).size(), 1u);
  EXPECT_NO_THROW(agree(*one, [] {}));
  try {
    agree(*one, [] { throw UsageError("wrong\ninput"); });
    FAIL() << "no error";
  } catch (const AgreedError& error) {
    EXPECT_STREQ(error.what(), "wrong\ninput");
    EXPECT_EQ(error.exit_code(), 2);
  }
}

TEST_F(NullOfFour, GivesTextOfOtherRanksAsEmpty) {
  EXPECT_EQ(all_gather_text(*communicator, "mine"), (std::vector<std::string>{"", "", "mine", ""}));
  EXPECT_EQ(broadcast_text(*communicator, "mine", 0), "");
  EXPECT_EQ(broadcast_text(*communicator, "mine", 2), "mine");
}

}  // namespace
}  // namespace lshdp::comm
