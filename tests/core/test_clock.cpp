// Clocks: wall time passes in sleep, CPU time in work.
#include <thread>

#include <gtest/gtest.h>

#include "lshdp/core/clock.h"

namespace lshdp {
namespace {

/// Keeps the calling thread busy until it has used `seconds` of CPU.
void burn(double seconds) {
  const double until = thread_cpu_seconds() + seconds;
  while (thread_cpu_seconds() < until) {
  }
}

TEST(Clock, SleepsUntilADeadlineAndNotBefore) {
  const double begun = now_seconds();
  sleep_until(begun + 0.05);
  EXPECT_GE(now_seconds(), begun + 0.05);
}

TEST(Clock, ReturnsAtOnceFromAPastDeadline) {
  const double begun = now_seconds();
  sleep_until(begun - 100);
  sleep_until(begun);
  EXPECT_LT(now_seconds() - begun, 5);
}

TEST(Clock, CountsNoCpuTimeInSleep) {
  const double cpu = thread_cpu_seconds();
  sleep_until(now_seconds() + 0.05);
  EXPECT_LT(thread_cpu_seconds() - cpu, 0.045);
}

TEST(Clock, CountsOtherThreadsForTheProcessOnly) {
  const double process = process_cpu_seconds(), here = thread_cpu_seconds();
  std::thread([] { burn(0.05); }).join();
  EXPECT_GE(process_cpu_seconds() - process, 0.05);
  EXPECT_LT(thread_cpu_seconds() - here, 0.045);
}

}  // namespace
}  // namespace lshdp
