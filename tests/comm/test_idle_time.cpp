// A process is idle while it notes, computes, sends and receives nothing.
#include <gtest/gtest.h>

#include "idle_time.h"
#include "lshdp/core/activity.h"
#include "lshdp/core/clock.h"

namespace lshdp::comm {
namespace {

constexpr double kMost = 4;

/// The time that looks are told passes by itself; only the CPU time is real.
class AnIdleTime : public testing::Test {
 protected:
  double after(double seconds) { return idle_.look(now_ += seconds, counters_, kMost); }
  void compute(double seconds) {
    const double until = process_cpu_seconds() + seconds;
    while (process_cpu_seconds() < until) {
    }
  }
  void SetUp() override { EXPECT_EQ(after(1), 0); }

  Counters counters_;

 private:
  IdleTime idle_;
  double now_ = 100;
};

TEST_F(AnIdleTime, GrowsWhileNothingIsDone) {
  EXPECT_EQ(after(2), 2);
  EXPECT_EQ(after(3), 5);
}

TEST_F(AnIdleTime, EndsWithAnActivityAndWithBytes) {
  after(2);
  note_activity(Doing::forward, 3, 1);
  EXPECT_EQ(after(2), 0);
  EXPECT_EQ(after(2), 2);
  counters_.bytes_received += 8;
  EXPECT_EQ(after(2), 0);
}

TEST_F(AnIdleTime, EndsWithComputing) {
  after(2);
  compute(0.1);
  EXPECT_EQ(after(2), 0);
}

TEST_F(AnIdleTime, DoesNotTakeTheCommunicatorsThreadsForComputing) {
  compute(0.1);
  counters_.cpu_seconds += 0.1;
  EXPECT_EQ(after(2), 2);
}

TEST_F(AnIdleTime, CountsLittleOfATimeInWhichTheProcessDidNotRun) { EXPECT_EQ(after(1000), kMost); }

}  // namespace
}  // namespace lshdp::comm
