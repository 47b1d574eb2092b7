// The first signal is a wish, a later one kills.
#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>

#include "lshdp/core/interrupt.h"

namespace lshdp {
namespace {

void watch_and_raise(int signal, int times, std::chrono::milliseconds apart = {}) {
  watch_interrupts();
  if (interrupted()) std::_Exit(3);
  for (int i = 0; i < times; ++i) {
    if (i > 0) std::this_thread::sleep_for(apart);
    std::raise(signal);
  }
  std::_Exit(interrupted() ? 0 : 4);
}

TEST(InterruptDeathTest, NotesTheFirstSignalAndGoesOn) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    EXPECT_EXIT(watch_and_raise(signal, 1), testing::ExitedWithCode(0), "");
  }
}

TEST(InterruptDeathTest, TakesASignalThatFollowsAtOnceForTheSameWish) {
  EXPECT_EXIT(watch_and_raise(SIGTERM, 2), testing::ExitedWithCode(0), "");
}

TEST(InterruptDeathTest, DiesOfALaterSignal) {
  const std::chrono::milliseconds later(1200);
  EXPECT_EXIT(watch_and_raise(SIGTERM, 2, later), testing::KilledBySignal(SIGTERM), "");
  EXPECT_EXIT(watch_and_raise(SIGINT, 2, later), testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace lshdp
