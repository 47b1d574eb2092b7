// The log prints on rank 0 at the chosen level, and on other ranks only of errors.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/log.h"

namespace lshdp {
namespace {

/// What stderr gets from one message of each level.
std::string said(const char* level, int rank) {
  testing::internal::CaptureStderr();
  configure_log(level, rank);
  spdlog::debug("d-message");
  spdlog::info("i-message");
  spdlog::warn("w-message");
  spdlog::error("e-message");
  spdlog::default_logger()->flush();
  return testing::internal::GetCapturedStderr();
}

TEST(Log, SpeaksOnRankZeroFromItsLevelUp) {
  EXPECT_EQ(said("info", 0), "I i-message\nW w-message\nE e-message\n");
  EXPECT_EQ(said("debug", 0), "D d-message\nI i-message\nW w-message\nE e-message\n");
  EXPECT_EQ(said("warn", 0), "W w-message\nE e-message\n");
  EXPECT_EQ(said("off", 0), "");
}

TEST(Log, IsSilentOnOtherRanksUnlessTheyFail) {
  EXPECT_EQ(said("debug", 3), "E rank 3: e-message\n");
  EXPECT_EQ(said("off", 3), "");
}

TEST(Log, RefusesAnUnknownLevel) { EXPECT_THROW(configure_log("loud", 0), UsageError); }

}  // namespace
}  // namespace lshdp
