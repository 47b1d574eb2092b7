// Sums and gathers of device memory in groups and between them, with hosts that play devices.
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/comm/device_communicator.h"
#include "lshdp/core/error.h"
#include "support/detached_device.h"
#include "support/host_group.h"

namespace lshdp::comm {
namespace {

class DeviceRanks : public test::OnRanks {
 protected:
  static constexpr std::int64_t kCount = 1000;

  /// Rank r in group r % groups, for as many groups as divide the ranks.
  std::vector<std::vector<std::string>> groupings() const {
    std::vector<std::vector<std::string>> all;
    for (int groups = 1; groups <= size(); ++groups) {
      if (size() % groups != 0) continue;
      all.emplace_back();
      for (int rank = 0; rank < size(); ++rank) all.back().push_back(std::to_string(rank % groups));
    }
    return all;
  }

  std::unique_ptr<Communicator> make(const std::vector<std::string>& names) {
    return make_device_communicator(communicator(), names, test::host_group(communicator(), names), device_);
  }

  /// Of very unequal size; the first rank has nothing where there are others.
  Shards unequal_shards() const {
    Shards shards{{0}};
    for (int rank = 0; rank < size(); ++rank)
      shards.bounds.push_back(rank + 1 == size() ? kCount : kCount * rank / (2 * size()));
    return shards;
  }

  std::vector<double> vector_of(int rank, int salt) const {
    std::vector<double> values(kCount);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) * (rank + 1) + salt;
    return values;
  }
  static Buffer buffer(std::vector<double>& data) {
    return {data.data(), static_cast<std::int64_t>(data.size()), DataType::float64};
  }

  test::DetachedDevice device_;
};

TEST_F(DeviceRanks, SumReachesTheOwnerOfEachShardInEveryGrouping) {
  for (const auto& names : groupings()) {
    const auto communicator = make(names);
    communicator->set_send_sizes({.segment_bytes = 640, .sends_in_flight = 3});
    EXPECT_EQ(communicator->send_sizes().segment_bytes, 640);
    for (const Shards& shards : {unequal_shards(), equal_shards(kCount, size())}) {
      std::vector<double> data = vector_of(rank(), 1), expected(kCount);
      for (int other = 0; other < size(); ++other) {
        const std::vector<double> theirs = vector_of(other, 1);
        for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += theirs[i];
      }
      communicator->reduce_scatter_sum(buffer(data), shards, {.tag = 4}).wait();
      for (std::int64_t i = shards.begin(rank()); i < shards.end(rank()); ++i)
        ASSERT_EQ(data[static_cast<std::size_t>(i)], expected[static_cast<std::size_t>(i)]) << i;
    }
  }
}

TEST_F(DeviceRanks, GatherMakesTheVectorWholeInEveryGrouping) {
  for (const auto& names : groupings()) {
    const auto communicator = make(names);
    const Shards shards = unequal_shards();
    const std::vector<double> whole = vector_of(7, 0);
    std::vector<double> data(kCount, std::nan(""));
    for (std::int64_t i = shards.begin(rank()); i < shards.end(rank()); ++i)
      data[static_cast<std::size_t>(i)] = whole[static_cast<std::size_t>(i)];
    communicator->all_gather(buffer(data), shards, {.tag = 5}).wait();
    ASSERT_EQ(data, whole);
  }
}

TEST_F(DeviceRanks, DeferredOperationsBeginWhenTheyAreStartedAndTellWhenTheyAreDone) {
  for (const auto& names : groupings()) {
    const auto communicator = make(names);
    const Shards shards = equal_shards(kCount, size());
    std::vector<std::vector<double>> sums, wholes;
    std::vector<Work> works;
    for (int i = 0; i < 6; ++i) sums.push_back(vector_of(rank(), i));
    for (int i = 0; i < 6; ++i)
      works.push_back(communicator->reduce_scatter_sum(buffer(sums[static_cast<std::size_t>(i)]), shards,
                                                       {.tag = 2 * i, .deferred = true}));
    EXPECT_FALSE(works.front().done());
    std::atomic<int> told = 0;
    for (Work& work : works) work.when_done([&told] { ++told; });
    for (Work& work : works) work.start();
    for (Work& work : works) work.wait();
    for (Work& work : works) EXPECT_GE(work.finished(), work.began());
    EXPECT_THROW(works.front().start(), std::logic_error);
    while (told < 6) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(told, 6);
    const auto first = static_cast<std::size_t>(shards.begin(rank()));
    double expected = 0;
    for (int other = 0; other < size(); ++other) expected += vector_of(other, 5)[first];
    EXPECT_EQ(sums[5][first], expected);
  }
}

TEST_F(DeviceRanks, RefusesWhatItCannotDo) {
  const auto communicator = make(groupings().front());
  std::vector<float> data(8);
  EXPECT_THROW(communicator->reduce_scatter_sum({data.data(), 8, DataType::float32}, equal_shards(8, size()),
                                                {.wire = Wire::bf16}),
               std::invalid_argument);
}

TEST(EqualGroups, UnequalOnesAreRefusedByName) {
  EXPECT_NO_THROW(refuse_unequal_groups({"a", "b", "a", "b"}));
  EXPECT_THROW(refuse_unequal_groups({"a", "b", "a"}), UsageError);
}

}  // namespace
}  // namespace lshdp::comm
