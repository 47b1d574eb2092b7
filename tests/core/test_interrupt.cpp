// The first signal is a wish, the second one kills.
#include <csignal>

#include <gtest/gtest.h>

#include "lshdp/core/interrupt.h"

namespace lshdp {
namespace {

void watch_and_raise(int signal, int times) {
  watch_interrupts();
  if (interrupted()) std::_Exit(3);
  for (int i = 0; i < times; ++i) std::raise(signal);
  std::_Exit(interrupted() ? 0 : 4);
}

TEST(InterruptDeathTest, NotesTheFirstSignalAndGoesOn) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    EXPECT_EXIT(watch_and_raise(signal, 1), testing::ExitedWithCode(0), "");
  }
}

TEST(InterruptDeathTest, DiesOfTheSecondSignal) {
  EXPECT_EXIT(watch_and_raise(SIGTERM, 2), testing::KilledBySignal(SIGTERM), "");
  EXPECT_EXIT(watch_and_raise(SIGINT, 2), testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace lshdp
