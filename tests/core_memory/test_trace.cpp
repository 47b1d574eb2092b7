// Traces record only when asked, and those of several ranks share one time axis.
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "lshdp/core/json.h"
#include "lshdp/core/trace.h"

namespace lshdp {
namespace {

std::vector<Json> events_of(const Json& events, const char* phase) {
  std::vector<Json> found;
  for (const Json& event : events) {
    if (event.at("ph") == phase) found.push_back(event);
  }
  return found;
}

TEST(Trace, RecordsNothingWhileOff) {
  Trace trace;
  trace.record("forward", "compute", 1, 2);
  { Span span(trace, "forward", "compute"); }
  EXPECT_TRUE(events_of(trace.to_events(0, "rank 0"), "X").empty());
}

TEST(Trace, SpansBecomeEventsInMicrosecondsOnALaneEach) {
  Trace trace;
  trace.enable();
  trace.record("layer 0", "compute", 1.5, 1.75);
  trace.record("gather", "communication", 2, 2.5);
  trace.record("layer 1", "compute", 3, 4);
  const Json events = trace.to_events(2, "rank 2 (node)");
  const auto spans = events_of(events, "X");
  ASSERT_EQ(spans.size(), 3U);
  EXPECT_EQ(spans[0].at("name"), "layer 0");
  EXPECT_DOUBLE_EQ(spans[0].at("ts"), 1.5e6);
  EXPECT_DOUBLE_EQ(spans[0].at("dur"), 0.25e6);
  EXPECT_EQ(spans[0].at("pid"), 2);
  EXPECT_EQ(spans[0].at("tid"), spans[2].at("tid"));
  EXPECT_NE(spans[0].at("tid"), spans[1].at("tid"));
  const auto names = events_of(events, "M");
  ASSERT_EQ(names.size(), 3U);
  EXPECT_EQ(names[0].at("name"), "process_name");
  EXPECT_EQ(names[0].at("args").at("name"), "rank 2 (node)");
  EXPECT_EQ(names[1].at("name"), "thread_name");
  EXPECT_EQ(names[1].at("args").at("name"), "compute");
}

TEST(Trace, SpanRecordsItsOwnLifeTime) {
  Trace trace;
  trace.enable();
  const double before = now_seconds();
  { Span span(trace, "step", "compute"); }
  const double after = now_seconds();
  const auto spans = events_of(trace.to_events(0, ""), "X");
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_GE(spans[0].at("ts").get<double>(), before * 1e6 - 1);
  EXPECT_LE(spans[0].at("ts").get<double>() + spans[0].at("dur").get<double>(), after * 1e6 + 1);
}

TEST(Trace, ThreadsMayRecordTogether) {
  Trace trace;
  trace.enable();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&trace] {
      for (int i = 0; i < 500; ++i) trace.record("x", "compute", i, i + 1);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(events_of(trace.to_events(0, ""), "X").size(), 2000U);
}

TEST(Trace, MergedRanksBeginAtZeroOnTheClockOfRankZero) {
  Trace a, b;
  a.enable();
  b.enable();
  a.record("step", "compute", 10, 11);
  b.record("step", "compute", 103.5, 104);  // its clock is 94 s ahead
  const std::vector<Json> ranks = {a.to_events(0, "rank 0"), b.to_events(1, "rank 1")};
  const auto spans = events_of(merge_trace_events(ranks, std::vector<double>{0, -94}), "X");
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_DOUBLE_EQ(spans[0].at("ts"), 0.5e6);
  EXPECT_DOUBLE_EQ(spans[1].at("ts"), 0);
  EXPECT_THROW(merge_trace_events(ranks, std::vector<double>{0}), std::invalid_argument);
}

}  // namespace
}  // namespace lshdp
