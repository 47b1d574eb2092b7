// Collectives over real ranks against plain sums: odd sizes, unequal shards, many segments, both types, both wires.
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/comm/agree.h"

namespace lshdp::comm {
namespace {

using test::OnRanks;
using test::type_of;

std::vector<std::int64_t> odd_sizes(int ranks) { return {0, 1, ranks - 1, ranks, ranks + 1, 13, 101, 1031, 5003}; }

/// Shards of very different sizes, some of them empty.
std::vector<Shards> shard_choices(std::int64_t count, int ranks) {
  std::vector<Shards> choices{equal_shards(count, ranks)};
  for (int owner : {0, ranks - 1}) {
    Shards all_to_one{{0}};
    for (int rank = 0; rank < ranks; ++rank) all_to_one.bounds.push_back(rank < owner ? 0 : count);
    choices.push_back(all_to_one);
  }
  Shards squares{{0}};
  for (int rank = 1; rank <= ranks; ++rank) squares.bounds.push_back(count * rank * rank / (ranks * ranks));
  choices.push_back(squares);
  return choices;
}

/// Small integers: their sums are exact, so that results can be compared for equality.
template <typename T>
T whole(int rank, std::int64_t i) {
  return static_cast<T>((i * 7 + rank * 13) % 101 - 50);
}

template <typename T>
std::vector<T> whole_vector(int rank, std::int64_t count) {
  std::vector<T> data(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) data[static_cast<std::size_t>(i)] = whole<T>(rank, i);
  return data;
}

template <typename T>
T whole_sum(int ranks, std::int64_t i) {
  T sum = 0;
  for (int rank = 0; rank < ranks; ++rank) sum += whole<T>(rank, i);
  return sum;
}

template <typename T>
Buffer buffer_of(std::vector<T>& data) {
  return {data.data(), static_cast<std::int64_t>(data.size()), type_of<T>()};
}

template <typename T>
class Collectives : public OnRanks {
 protected:
  void expect_sum(const std::vector<T>& data, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      ASSERT_EQ(data[static_cast<std::size_t>(i)], whole_sum<T>(size(), i)) << "element " << i << " of " << data.size();
  }
};

using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Collectives, Types);

TYPED_TEST(Collectives, AllReduceIsThePlainSum) {
  for (const std::int64_t count : odd_sizes(this->size())) {
    auto data = whole_vector<TypeParam>(this->rank(), count);
    this->communicator().all_reduce_sum(buffer_of(data)).wait();
    this->expect_sum(data, 0, count);
  }
}

TYPED_TEST(Collectives, ReduceScatterIsThePlainSumOfTheOwnShard) {
  for (const std::int64_t count : odd_sizes(this->size()))
    for (const Shards& shards : shard_choices(count, this->size())) {
      auto data = whole_vector<TypeParam>(this->rank(), count);
      this->communicator().reduce_scatter_sum(buffer_of(data), shards).wait();
      this->expect_sum(data, shards.begin(this->rank()), shards.end(this->rank()));
    }
}

TYPED_TEST(Collectives, AllGatherBringsEveryShard) {
  for (const std::int64_t count : odd_sizes(this->size()))
    for (const Shards& shards : shard_choices(count, this->size())) {
      std::vector<TypeParam> data(static_cast<std::size_t>(count), -1000);
      for (std::int64_t i = shards.begin(this->rank()); i < shards.end(this->rank()); ++i)
        data[static_cast<std::size_t>(i)] = whole<TypeParam>(3, i);
      this->communicator().all_gather(buffer_of(data), shards).wait();
      EXPECT_EQ(data, whole_vector<TypeParam>(3, count));
    }
}

/// What `from` sends `to`: of lengths from nothing to several segments.
std::int64_t message_length(int from, int to) { return (from * 5 + to * 3) % 4 * 211; }

/// Lengths of the messages of `rank`, in a row: those it sends, or those it receives.
Shards message_shards(int rank, int ranks, bool sends) {
  Shards shards{{0}};
  for (int other = 0; other < ranks; ++other) {
    const std::int64_t length = sends ? message_length(rank, other) : message_length(other, rank);
    shards.bounds.push_back(shards.bounds.back() + length);
  }
  return shards;
}

TYPED_TEST(Collectives, AllToAllBringsEachMessageToItsReceiverAndLeavesOwnOnesAlone) {
  const int rank = this->rank(), size = this->size();
  const Shards sent = message_shards(rank, size, true), received = message_shards(rank, size, false);
  std::vector<TypeParam> out(static_cast<std::size_t>(sent.bounds.back()));
  for (int to = 0; to < size; ++to) {
    for (std::int64_t i = 0; i < sent.count(to); ++i)
      out[static_cast<std::size_t>(sent.begin(to) + i)] = whole<TypeParam>(10 * rank + to, i);
  }
  std::vector<TypeParam> in(static_cast<std::size_t>(received.bounds.back()), -1000);
  this->communicator().all_to_all(buffer_of(out), sent, buffer_of(in), received).wait();
  for (int from = 0; from < size; ++from) {
    for (std::int64_t i = 0; i < received.count(from); ++i) {
      const TypeParam expected = from == rank ? -1000 : whole<TypeParam>(10 * from + rank, i);
      ASSERT_EQ(in[static_cast<std::size_t>(received.begin(from) + i)], expected) << "from " << from;
    }
  }
}

TYPED_TEST(Collectives, BroadcastBringsTheVectorOfTheRoot) {
  for (const std::int64_t count : odd_sizes(this->size()))
    for (int root = 0; root < this->size(); ++root) {
      auto data = whole_vector<TypeParam>(this->rank(), count);
      this->communicator().broadcast(buffer_of(data), root).wait();
      EXPECT_EQ(data, whole_vector<TypeParam>(root, count));
    }
}

TYPED_TEST(Collectives, MessagesGoRoundTheRing) {
  if (this->size() == 1) GTEST_SKIP() << "nobody to send to";
  for (const std::int64_t count : odd_sizes(this->size())) {
    auto out = whole_vector<TypeParam>(this->rank(), count);
    std::vector<TypeParam> in(out.size());
    Work received = this->communicator().receive(buffer_of(in), this->left());
    Work sent = this->communicator().send(buffer_of(out), this->right());
    received.wait();
    sent.wait();
    EXPECT_EQ(in, whole_vector<TypeParam>(this->left(), count));
  }
}

TYPED_TEST(Collectives, ScratchOfTheCallerWillDo) {
  const std::int64_t count = 3001;
  const Shards shards = shard_choices(count, this->size()).back();
  std::vector<TypeParam> scratch(scratch_bytes(shards, type_of<TypeParam>(), this->rank()) / sizeof(TypeParam));
  auto data = whole_vector<TypeParam>(this->rank(), count);
  this->communicator()
      .reduce_scatter_sum(buffer_of(data), shards, {.scratch = std::as_writable_bytes(std::span(scratch))})
      .wait();
  this->expect_sum(data, shards.begin(this->rank()), shards.end(this->rank()));
}

class Bits : public OnRanks {
 protected:
  /// Values whose sum depends on the order of additions.
  std::vector<float> rough_vector(std::int64_t count) const {
    std::vector<float> data(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < data.size(); ++i)
      data[i] =
          std::sin(static_cast<float>(i) * 0.37F + static_cast<float>(rank())) * std::exp(static_cast<float>(i % 17));
    return data;
  }

  void expect_same_on_all_ranks(const std::vector<float>& data) {
    std::string bytes(data.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), data.data(), bytes.size());
    for (const auto& other : all_gather_text(communicator(), bytes)) EXPECT_TRUE(other == bytes);
  }

  std::vector<double> exact_sum(std::vector<float> data) {
    std::vector<double> sum(data.begin(), data.end());
    communicator().all_reduce_sum(buffer_of(sum)).wait();
    return sum;
  }

  std::vector<double> sum_of_magnitudes(std::vector<float> data) {
    for (float& value : data) value = std::abs(value);
    return exact_sum(data);
  }
};

TEST_F(Bits, OfAnAllReduceAreTheSameOnEveryRank) {
  for (const std::int64_t count : {1, 7, 1000, 1025, 4099})
    for (const Wire wire : {Wire::exact, Wire::bf16}) {
      auto data = rough_vector(count);
      communicator().all_reduce_sum(buffer_of(data), {.wire = wire}).wait();
      expect_same_on_all_ranks(data);
    }
}

TEST_F(Bits, OfASumDoNotChangeFromRunToRun) {
  auto first = rough_vector(4099);
  communicator().all_reduce_sum(buffer_of(first)).wait();
  for (int repetition = 0; repetition < 5; ++repetition) {
    auto again = rough_vector(4099);
    communicator().all_reduce_sum(buffer_of(again)).wait();
    EXPECT_EQ(again, first);
  }
}

TEST_F(Bits, OnTheBf16WireAreWithinItsRounding) {
  for (const std::int64_t count : {5, 999, 1025, 4099}) {
    const auto data = rough_vector(count);
    const auto exact = exact_sum(data), magnitude = sum_of_magnitudes(data);
    auto reduced = data;
    communicator().all_reduce_sum(buffer_of(reduced), {.wire = Wire::bf16}).wait();
    auto scattered = data;
    const Shards shards = equal_shards(count, size());
    communicator().reduce_scatter_sum(buffer_of(scattered), shards, {.wire = Wire::bf16}).wait();
    for (std::int64_t at = 0; at < count; ++at) {
      const auto i = static_cast<std::size_t>(at);
      // Each of at most `size` roundings is off by at most 2^-8 of a partial sum.
      const double bound = size() * magnitude[i] / 256;
      EXPECT_NEAR(reduced[i], exact[i], bound);
      if (at >= shards.begin(rank()) && at < shards.end(rank())) {
        EXPECT_NEAR(scattered[i], exact[i], bound);
      }
    }
  }
}

TEST_F(Bits, OfABf16GatherAreRoundedAtTheOwnerToo) {
  if (size() == 1) GTEST_SKIP() << "one rank sends nothing and rounds nothing";
  for (const std::int64_t count : {9, 1031, 4099}) {
    auto data = rough_vector(count);
    const auto before = data;
    const Shards shards = equal_shards(count, size());
    communicator().all_gather(buffer_of(data), shards, {.wire = Wire::bf16}).wait();
    expect_same_on_all_ranks(data);
    for (std::int64_t at = shards.begin(rank()); at < shards.end(rank()); ++at) {
      const auto i = static_cast<std::size_t>(at);
      EXPECT_NEAR(data[i], before[i], std::abs(before[i]) / 256);
    }
    for (const float value : data) {
      std::uint32_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      EXPECT_EQ(bits & 0xffff, 0u);
    }
  }
}

TEST_F(Bits, OfBytesAndBf16VectorsTravelUnchanged) {
  std::vector<std::uint16_t> data(3001);
  std::iota(data.begin(), data.end(), static_cast<std::uint16_t>(0));
  const auto expected = data;
  const Shards shards = equal_shards(3001, size());
  for (std::int64_t i = 0; i < 3001; ++i)
    if (i < shards.begin(rank()) || i >= shards.end(rank())) data[static_cast<std::size_t>(i)] = 0;
  communicator().all_gather({data.data(), 3001, DataType::bfloat16}, shards).wait();
  EXPECT_EQ(data, expected);
}

class Totals : public OnRanks {};

TEST_F(Totals, OfBytesAreTheFloorOfAnAllReduce) {
  const std::int64_t per_rank = 4096, count = per_rank * size();
  std::vector<float> data(static_cast<std::size_t>(count), 1.0F);
  const Counters before = communicator().counters();
  communicator().all_reduce_sum(buffer_of(data)).wait();
  const Counters after = communicator().counters();
  const std::int64_t floor = 2 * (size() - 1) * per_rank * 4;
  EXPECT_EQ(after.bytes_sent - before.bytes_sent, floor);
  EXPECT_EQ(after.bytes_received - before.bytes_received, floor);
  const Counters middle = communicator().counters();
  communicator().all_reduce_sum(buffer_of(data), {.wire = Wire::bf16}).wait();
  EXPECT_EQ(communicator().counters().bytes_sent - middle.bytes_sent, floor / 2);
}

TEST_F(Totals, OfSecondsGrowOnlyWhileThereIsWork) {
  std::vector<float> data(100000, 1.0F);
  const double begun = now_seconds();
  Work work = communicator().all_reduce_sum(buffer_of(data));
  work.wait();
  const double elapsed = now_seconds() - begun;
  const Counters after = communicator().counters();
  EXPECT_GT(after.busy_seconds, 0);
  EXPECT_GT(after.cpu_seconds, 0);
  EXPECT_LE(after.exposed_seconds, elapsed + 1e-9);
  EXPECT_GE(work.finished(), work.began());
  EXPECT_LE(after.busy_seconds, elapsed + 1e-9);
  communicator().barrier();
  const double idle = communicator().counters().busy_seconds;
  sleep_until(now_seconds() + 0.05);
  EXPECT_EQ(communicator().counters().busy_seconds, idle);
}

TEST_F(Totals, OfCpuSecondsStaySmallWhileARankWaits) {
  std::vector<float> data(100000, 1.0F);
  communicator().barrier();
  const double before = communicator().counters().cpu_seconds;
  if (rank() == 0) sleep_until(now_seconds() + 0.5);
  communicator().all_reduce_sum(buffer_of(data)).wait();
  EXPECT_LT(communicator().counters().cpu_seconds - before, 0.2) << "the engine spins";
}

class Communicators : public OnRanks {};

TEST_F(Communicators, FollowEachOtherWhileBeatsOfTheOneBeforeAreOnTheirWay) {
  for (int round = 0; round < 20; ++round) {
    make({.beat_seconds = 1e-3});  // ranks end the one before without a barrier
    float sum = 1;
    communicator().all_reduce_sum({&sum, 1, DataType::float32}).wait();
    EXPECT_EQ(sum, static_cast<float>(size()));
    sleep_until(now_seconds() + 1e-3 * rank());
  }
}

}  // namespace
}  // namespace lshdp::comm
