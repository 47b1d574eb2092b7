// Clocks on clock_gettime.
#include "lshdp/core/clock.h"

#include <cerrno>
#include <cmath>
#include <ctime>

namespace lshdp {
namespace {

double read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

double now_seconds() { return read_clock(CLOCK_MONOTONIC); }
double thread_cpu_seconds() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }
double process_cpu_seconds() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

void sleep_until(double deadline) {
  if (deadline <= now_seconds()) return;
  timespec t{};
  t.tv_sec = static_cast<time_t>(deadline);
  t.tv_nsec = static_cast<long>((deadline - std::floor(deadline)) * 1e9);
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == EINTR) {
  }
}

}  // namespace lshdp
