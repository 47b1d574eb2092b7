// What libraries and the system throw reaches people in words of ours.
#include <filesystem>
#include <new>
#include <stdexcept>
#include <system_error>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"

namespace lshdp {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Explain, KeepsTheMessageOfAnError) {
  EXPECT_EQ(explain(UsageError("--total: too large")), "--total: too large");
  EXPECT_EQ(explain(WriteError("a.h5", "No space left on device")), "cannot write a.h5: No space left on device");
}

TEST(Explain, NamesTheFileAndTheCauseThatTheSystemGave) {
  std::string text;
  try {
    std::filesystem::create_directory("/dev/null/sub");
  } catch (const std::exception& error) {
    text = explain(error);
  }
  EXPECT_EQ(text, "cannot use /dev/null/sub: Not a directory");
  EXPECT_EQ(explain(std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again), "thread")),
            "the system refused something: Resource temporarily unavailable");
}

TEST(Explain, KnowsWantOfMemoryFromEveryLibrary) {
  EXPECT_THAT(explain(std::bad_alloc()), StartsWith("out of memory: "));
  std::string text;
  try {
    at::empty({1LL << 55});
  } catch (const std::exception& error) {
    text = explain(error);
  }
  EXPECT_THAT(text, StartsWith("out of memory: "));
  EXPECT_THAT(explain(std::runtime_error("could not create a primitive")), HasSubstr("lack of memory"));
}

TEST(Explain, AsksForAReportOfWhatItDoesNotKnow) {
  const std::string text = explain(std::runtime_error("first line\nframe #0: somewhere"));
  EXPECT_EQ(text, "an error that lshdp has no words for; please report it with this: first line");
}

}  // namespace
}  // namespace lshdp
