// Signals as a flag.
#include "lshdp/core/interrupt.h"

#include <csignal>

namespace lshdp {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1};

// A signal handler can reach nothing but static storage.
volatile std::sig_atomic_t came = 0;

void set_handlers(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

void note(int) {
  came = 1;
  set_handlers(SIG_DFL);
}

}  // namespace

void watch_interrupts() { set_handlers(note); }

bool interrupted() { return came != 0; }

}  // namespace lshdp
