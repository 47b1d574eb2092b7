// Signals as a flag.
#include "lshdp/core/interrupt.h"

#include <csignal>
#include <ctime>

namespace lshdp {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1};

// A signal handler can reach nothing but static storage.
volatile std::sig_atomic_t came = 0;
timespec first{};
constexpr double kSameWish = 1;  // seconds

void set_handlers(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

void note(int signal) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (came == 0) {
    first = now;
    came = 1;
  } else if (static_cast<double>(now.tv_sec - first.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - first.tv_nsec) >
             kSameWish) {
    set_handlers(SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

void watch_interrupts() { set_handlers(note); }

bool interrupted() { return came != 0; }

}  // namespace lshdp
