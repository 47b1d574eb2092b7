// Signals as a flag, taken by a thread of their own.
#include "lshdp/core/interrupt.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <thread>

namespace lshdp {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1};

// A signal handler can reach nothing but static storage.
std::atomic<bool> came = false;
std::atomic<std::int64_t> first = 0;  // nanoseconds
constexpr std::int64_t kSameWish = 1'000'000'000;
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

sigset_t signal_set() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kSignals) sigaddset(&set, signal);
  return set;
}

void set_handlers(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

std::int64_t now_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

void note(int signal) {
  if (!came) {
    first = now_nanoseconds();
    came = true;
  } else if (now_nanoseconds() - first > kSameWish) {
    set_handlers(SIG_DFL);
    const sigset_t set = signal_set();
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    std::raise(signal);
  }
}

[[noreturn]] void take_signals() {
  const sigset_t set = signal_set();
  for (int signal = 0;;) {
    if (sigwait(&set, &signal) == 0) note(signal);
  }
}

}  // namespace

void watch_interrupts() {
  // oneDNN's matrix products put the stack pointer at the begin of a block of the heap: a handler's frame on such a
  // thread would lie over whatever the heap has before it. Threads started from here on inherit the mask.
  const sigset_t set = signal_set();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  set_handlers(note);  // for threads that are there already
  static std::atomic<bool> watched = false;
  if (!watched.exchange(true)) std::thread(take_signals).detach();
}

bool interrupted() { return came; }

}  // namespace lshdp
