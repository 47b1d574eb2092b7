// Clocks, in seconds.
#pragma once

namespace lshdp {

/// Monotonic wall time since an arbitrary point, in seconds. Clocks of processes on one host agree.
double now_seconds();
/// CPU time of the calling thread, in seconds.
double thread_cpu_seconds();
/// CPU time of the whole process, in seconds.
double process_cpu_seconds();
/// Sleeps until now_seconds() reaches `deadline`; returns at once if it has.
void sleep_until(double deadline);

}  // namespace lshdp
