// Sizes in flight: today's for Gigabit Ethernet, and how they follow rate, delay and what a message costs.
#include <limits>
#include <stdexcept>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/json.h"
#include "lshdp/plan/solver.h"
#include "lshdp/plan/transfer_sizes.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kKiB = 1 << 10, kMiB = 1 << 20;
constexpr double kGigabit = 1.17e8;  // bytes a second of TCP
constexpr TransferSizes kOfGigabit{.segment_bytes = 256 * kKiB, .sends_in_flight = 4, .bucket_bytes = 256 * kKiB};

double in_flight(const TransferSizes& sizes) {
  return static_cast<double>(sizes.segment_bytes * sizes.sends_in_flight);
}

bool is_power_of_two(std::int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

TEST(TransferSizes, OfGigabitEthernetAreThoseThatWereFoundByMeasuring) {
  for (const double rate : {9.7e7, kGigabit, 1.25e8})
    for (const double latency : {1e-4, 2e-4, 1e-3, 1.5e-3})
      for (const double message : {5e-4, 1e-3, 5e-3}) {
        EXPECT_EQ(transfer_sizes({latency, rate, message}), kOfGigabit) << rate << ' ' << latency << ' ' << message;
      }
}

TEST(TransferSizes, FollowTheRateOfTheLink) {
  EXPECT_EQ(transfer_sizes({2e-4, kGigabit / 10, 1e-3}), (TransferSizes{32 * kKiB, 4, 32 * kKiB}));
  const TransferSizes fast = transfer_sizes({5e-5, 10 * kGigabit, 1e-4});
  EXPECT_GE(in_flight(fast), 0.7 * 10 * kGigabit * 8e-3);
  EXPECT_GE(fast.segment_bytes, kMiB);
  EXPECT_LE(fast.segment_bytes, 4 * kMiB);
  EXPECT_EQ(fast.bucket_bytes, 512 * kKiB);
}

TEST(TransferSizes, KeepALongLinkBusy) {
  const TransferSizes far = transfer_sizes({50e-3, kGigabit, 0.2});
  EXPECT_GE(in_flight(far), 0.7 * kGigabit * 0.1);
  EXPECT_GT(in_flight(far), 2 * in_flight(kOfGigabit));
  EXPECT_EQ(transfer_sizes({2e-3, kGigabit, 8e-3}), kOfGigabit) << "2 ms are little beside a core's absence";
}

TEST(TransferSizes, CutFinerWhereMessagesCostLittle) {
  const TransferSizes cheap = transfer_sizes({1e-4, kGigabit, 5e-5}), dear = transfer_sizes({1e-4, kGigabit, 1e-3});
  EXPECT_LT(cheap.segment_bytes, dear.segment_bytes);
  EXPECT_GT(cheap.sends_in_flight, dear.sends_in_flight);
  EXPECT_EQ(in_flight(cheap), in_flight(dear));
}

TEST(TransferSizes, AreNoLongerOnASlowerLinkAndNoShorterWhereMessagesCostMore) {
  std::int64_t before = 0;
  for (double rate = 1e5; rate < 1e11; rate *= 1.1) {
    const TransferSizes sizes = transfer_sizes({2e-4, rate, 4e-4});
    EXPECT_GE(sizes.segment_bytes, before);
    before = sizes.segment_bytes;
  }
  before = 0;
  for (double message = 1e-6; message < 1; message *= 1.1) {
    const TransferSizes sizes = transfer_sizes({2e-4, kGigabit, message});
    EXPECT_GE(sizes.segment_bytes, before);
    before = sizes.segment_bytes;
  }
}

TEST(TransferSizes, LetAnUrgentMessageWaitAboutAsLongOnAnyLink) {
  for (double rate = 6e6; rate < 1.5e9; rate *= 1.1) {
    const TransferSizes sizes = transfer_sizes({2e-4, rate, 4e-4});
    EXPECT_GE(in_flight(sizes) / rate, 8e-3 / 1.5) << rate;
    EXPECT_LE(in_flight(sizes) / rate, 8.4e-3 * 1.5) << rate;
    EXPECT_LE(static_cast<double>(sizes.segment_bytes) / rate, 2.1e-3 * 1.5) << rate;
  }
}

TEST(TransferSizes, ArePowersOfTwoWithinLimits) {
  const double most = std::numeric_limits<double>::max(), least = std::numeric_limits<double>::denorm_min();
  for (const double rate : {least, 1.0, 1e4, 1e6, 1e9, 1e12, most})
    for (const double latency : {0.0, 1e-6, 1e-2, 1e9})
      for (const double message : {0.0, 1e-5, 1.0, most}) {
        const TransferSizes sizes = transfer_sizes({latency, rate, message});
        EXPECT_TRUE(is_power_of_two(sizes.segment_bytes) && is_power_of_two(sizes.sends_in_flight) &&
                    is_power_of_two(sizes.bucket_bytes));
        EXPECT_GE(sizes.segment_bytes, 16 * kKiB);
        EXPECT_LE(sizes.segment_bytes, 4 * kMiB);
        EXPECT_GE(sizes.sends_in_flight, 2);
        EXPECT_LE(sizes.sends_in_flight, 16);
        EXPECT_GE(sizes.bucket_bytes, 32 * kKiB);
        EXPECT_LE(sizes.bucket_bytes, 512 * kKiB);
        EXPECT_EQ(transfer_sizes_from_json(to_json(sizes), "sizes"), sizes);
      }
}

TEST(TransferSizes, RefuseFiguresThatCannotBe) {
  const double none = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();
  for (const double bad : {-1.0, none, infinite}) {
    EXPECT_THROW(transfer_sizes({bad, kGigabit, 1e-3}), std::invalid_argument);
    EXPECT_THROW(transfer_sizes({1e-4, bad, 1e-3}), std::invalid_argument);
    EXPECT_THROW(transfer_sizes({1e-4, kGigabit, bad}), std::invalid_argument);
  }
  EXPECT_THROW(transfer_sizes({1e-4, 0, 1e-3}), std::invalid_argument);
}

/// Two ranks on such a network, messages of which cost 1 ms beyond their bytes, one measured in a bad moment.
Profile measured(double rate = kGigabit) {
  const RankProfile rank = test::linear_rank(64, 0, 1e-3);
  Profile profile = test::with_network(test::make_profile({rank, rank}), rate, 10'000'000);
  profile.network.latency_seconds = 2e-4;
  for (const double bytes : {8e3, 32e3, 128e3, 512e3, 2e6})
    profile.network.messages.push_back({static_cast<std::int64_t>(bytes), bytes / rate + (bytes == 32e3 ? 0.2 : 1e-3)});
  return profile;
}

TEST(TransferSizes, OfAPlanFollowFromTheProfilesNetwork) {
  const Profile profile = measured();
  EXPECT_EQ(solve(profile, {.total = 20}).plan.transfer, kOfGigabit);
  EXPECT_EQ(plan_for(profile, {10, 10}, 0).transfer, kOfGigabit);
}

TEST(TransferSizes, AreNotChosenWhereMessagesWereNotMeasuredOrThereAreNone) {
  Profile profile = measured();
  profile.ranks.pop_back();
  EXPECT_FALSE(transfer_sizes(profile));
  profile = measured();
  profile.network.messages.clear();
  EXPECT_FALSE(transfer_sizes(profile));
  EXPECT_FALSE(solve(profile, {.total = 20}).plan.transfer);
}

TEST(TransferSizes, AreThoseOfTheFastestLinkWhereLinksDiffer) {
  Profile profile = measured(1.1e7);
  profile.ranks.push_back(profile.ranks[0]);
  profile.ranks[0].link_bytes_per_second = profile.ranks[2].link_bytes_per_second = 1.1e8;
  profile.ranks[1].link_bytes_per_second = 1.1e7;
  EXPECT_EQ(transfer_sizes(profile), kOfGigabit);
  EXPECT_EQ(solve(profile, {.total = 20}).plan.transfer, kOfGigabit);
  EXPECT_EQ(plan_for(profile, {10, 10, 0}, 0).transfer, kOfGigabit);
}

TEST(TransferSizes, TakeAMessageToCostALatencyAtLeast) {
  Profile profile = measured();
  for (NetworkPoint& message : profile.network.messages) message.seconds = 1e-9;
  EXPECT_EQ(transfer_sizes(profile), transfer_sizes({2e-4, kGigabit, 2e-4}));
}

TEST(TransferSizes, AreNamedForPeople) {
  EXPECT_EQ(describe(kOfGigabit), "segments of 256 KiB, 4 in flight, buckets of 256 KiB");
}

}  // namespace
}  // namespace lshdp::plan
