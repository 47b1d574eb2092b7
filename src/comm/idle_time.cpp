// CPU time, page faults, bytes and noted activities from one look to the next.
#include "idle_time.h"

#include <algorithm>

#include <sys/resource.h>

#include "lshdp/core/clock.h"

namespace lshdp::comm {
namespace {

// Who computes takes more of a core than this, also on an emulated node.
constexpr double kComputes = 0.02;
// Who mostly waits for pages to be read takes some CPU time for that.
constexpr double kComputesInFaults = 0.5, kFaultsPerSecond = 10;

}  // namespace

double IdleTime::look(double now, const Counters& counters, double most) {
  const Seen seen = see(now, counters);
  const double passed = seen.time - last_.time, cpu = seen.cpu - last_.cpu;
  const bool reads_pages = static_cast<double>(seen.faults - last_.faults) > kFaultsPerSecond * passed;
  const bool computes = cpu > (reads_pages ? kComputesInFaults : kComputes) * passed;
  const bool gets_on = last_.time == 0 || computes || seen.changes != last_.changes || seen.bytes != last_.bytes;
  idle_ = gets_on ? 0 : idle_ + std::min(passed, most);
  last_ = seen;
  return idle_;
}

IdleTime::Seen IdleTime::see(double now, const Counters& counters) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {.time = now,
          .cpu = process_cpu_seconds() - counters.cpu_seconds,
          .bytes = counters.bytes_sent + counters.bytes_received,
          .faults = usage.ru_majflt,
          .changes = current_activity().changes};
}

}  // namespace lshdp::comm
