// The first signal is a wish, a later one kills.
#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include "lshdp/core/interrupt.h"

namespace lshdp {
namespace {

constexpr std::chrono::milliseconds kLook(10);

/// Exits with 0 once the signals are noted.
void watch_and_signal(int signal, int times, std::chrono::milliseconds apart = {}) {
  watch_interrupts();
  if (interrupted()) std::_Exit(3);
  for (int i = 0; i < times; ++i) {
    if (i > 0) std::this_thread::sleep_for(apart);
    kill(getpid(), signal);
  }
  for (int looks = 0; looks < 1000 && !interrupted(); ++looks) std::this_thread::sleep_for(kLook);
  if (times > 1) std::this_thread::sleep_for(50 * kLook);  // for those that follow
  std::_Exit(interrupted() ? 0 : 4);
}

bool are_blocked() {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return sigismember(&set, SIGINT) == 1 && sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGUSR1) == 1;
}

void watch_and_look_at_masks() {
  watch_interrupts();
  bool other = false;
  std::thread([&] { other = are_blocked(); }).join();
  std::_Exit(are_blocked() && other ? 0 : 5);
}

/// A handler's frame on the stack of a thread inside oneDNN's matrix product would overwrite the heap.
TEST(InterruptDeathTest, InterruptsNoThreadThatMayCompute) {
  EXPECT_EXIT(watch_and_look_at_masks(), testing::ExitedWithCode(0), "");
}

TEST(InterruptDeathTest, NotesTheFirstSignalAndGoesOn) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    EXPECT_EXIT(watch_and_signal(signal, 1), testing::ExitedWithCode(0), "");
  }
}

TEST(InterruptDeathTest, TakesASignalThatFollowsAtOnceForTheSameWish) {
  EXPECT_EXIT(watch_and_signal(SIGTERM, 2), testing::ExitedWithCode(0), "");
}

TEST(InterruptDeathTest, DiesOfALaterSignal) {
  const std::chrono::milliseconds later(1200);
  EXPECT_EXIT(watch_and_signal(SIGTERM, 2, later), testing::KilledBySignal(SIGTERM), "");
  EXPECT_EXIT(watch_and_signal(SIGINT, 2, later), testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace lshdp
