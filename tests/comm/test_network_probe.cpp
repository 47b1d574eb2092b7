// The network probe: plausible figures, the same on every rank, within the time it was given.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/network_probe.h"

namespace lshdp::comm {
namespace {

// More than the sizes asked for need, even on a busy machine: the probe ends as soon as it has measured them.
constexpr double kAmpleSeconds = 60;

class NetworkProbe : public test::OnRanks {
 protected:
  void SetUp() override { make({}); }
};

TEST_F(NetworkProbe, MeasuresAllSizesAlikeOnAllRanks) {
  const NetworkMeasurement measured = probe_network(communicator(), 1 << 20, kAmpleSeconds);
  std::string text =
      fmt::format("{} {} {}", measured.latency_seconds, measured.bytes_per_second, measured.cpu_seconds_per_byte);
  for (const auto& point : measured.curve) text += fmt::format(" {}:{}", point.bytes, point.seconds);
  for (const auto& point : measured.messages) text += fmt::format(" {}:{}", point.bytes, point.seconds);
  for (const auto& other : all_gather_text(communicator(), text)) EXPECT_EQ(other, text);
  if (size() == 1) {
    EXPECT_TRUE(measured.curve.empty());
    EXPECT_TRUE(measured.messages.empty());
    EXPECT_EQ(measured.bytes_per_second, 0);
    return;
  }
  EXPECT_GT(measured.latency_seconds, 0);
  EXPECT_LT(measured.latency_seconds, 30);
  EXPECT_GT(measured.bytes_per_second, 1e4);
  EXPECT_GT(measured.cpu_seconds_per_byte, 0);
  ASSERT_EQ(measured.curve.size(), 5u);
  for (std::size_t i = 0; i < measured.curve.size(); ++i) {
    EXPECT_EQ(measured.curve[i].bytes, std::int64_t{4096} << (2 * i));
    EXPECT_GT(measured.curve[i].seconds, 0);
  }
  ASSERT_EQ(measured.messages.size(), 5u);
  for (std::size_t i = 0; i < measured.messages.size(); ++i) {
    EXPECT_EQ(measured.messages[i].bytes, std::int64_t{8192} << (2 * i));
    EXPECT_GT(measured.messages[i].seconds, 0);
    EXPECT_LT(measured.messages[i].seconds, 30);
  }
}

TEST_F(NetworkProbe, LeavesOutWhatItHasNoTimeFor) {
  const double begun = now_seconds();
  const NetworkMeasurement measured = probe_network(communicator(), std::int64_t{1} << 36, 1.0);
  // The size asked for would take an hour; a busy machine stretches one second to many.
  EXPECT_LT(now_seconds() - begun, 120.0);
  if (size() == 1) return;
  EXPECT_GE(measured.curve.size(), 1u);
  EXPECT_LT(measured.curve.back().bytes, std::int64_t{1} << 34);
}

TEST_F(NetworkProbe, EndsWithTheLargestSize) {
  const NetworkMeasurement measured = probe_network(communicator(), 50'000, kAmpleSeconds);
  if (size() == 1) return;
  ASSERT_EQ(measured.curve.size(), 3u);
  EXPECT_EQ(measured.curve.back().bytes, 50'000);
}

TEST_F(NetworkProbe, MeasuresEachRanksLinkAlikeOnAllRanks) {
  const std::vector<double> rates = probe_links(communicator(), 0.4);
  ASSERT_EQ(rates.size(), static_cast<std::size_t>(size()));
  for (const auto& other : all_gather_text(communicator(), fmt::format("{}", fmt::join(rates, " "))))
    EXPECT_EQ(other, fmt::format("{}", fmt::join(rates, " ")));
  if (size() == 1) {
    EXPECT_EQ(rates[0], 0);
    return;
  }
  for (const double rate : rates) {
    EXPECT_GT(rate, 1e4);
    EXPECT_LT(rate, 1e12);
  }
}

TEST_F(NetworkProbe, MeasuresLinksInTheTimeItIsGiven) {
  const double begun = now_seconds();
  probe_links(communicator(), 0.2);
  EXPECT_LT(now_seconds() - begun, 120.0);  // a busy machine stretches it
}

}  // namespace
}  // namespace lshdp::comm
