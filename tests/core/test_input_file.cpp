// Reading files as bytes: what the system refuses is an error, never a shorter file.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/input_file.h"
#include "support/temporary_directory.h"

namespace lshdp {
namespace {

using test::TemporaryDirectory;
using testing::HasSubstr;

template <typename F>
std::string message_of(F f) {
  try {
    f();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(InputFile, ReadsOnAndFromWhereItIsToldTo) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "0123456789");
  InputFile file(folder / "f");
  EXPECT_EQ(file.size(), 10U);
  std::vector<std::byte> four(4);
  EXPECT_EQ(file.read(four), 4U);
  EXPECT_EQ(text_of(four), "0123");
  file.read_at(6, four);
  EXPECT_EQ(text_of(four), "6789");
  EXPECT_EQ(file.read(four), 4U);
  EXPECT_EQ(text_of(four), "4567");
  EXPECT_EQ(file.read(four), 2U);
  EXPECT_EQ(file.read(four), 0U);
  EXPECT_THAT(message_of([&] { file.read_at(7, four); }), HasSubstr("it became shorter"));
}

TEST(InputFile, RefusesWhatIsNoFileWithBytes) {
  const TemporaryDirectory folder;
  EXPECT_THAT(message_of([&] { InputFile{folder / "none"}; }), HasSubstr("none: No such file or directory"));
  EXPECT_THAT(message_of([&] { InputFile{folder.path()}; }), HasSubstr("it is a folder"));
  EXPECT_THAT(message_of([] { return InputFile("/dev/null").size(); }), HasSubstr("it is no regular file"));
}

TEST(InputFile, SaysThatTheSystemCouldNotRead) {
  // Nothing lies at the address 0 of a process.
  InputFile file("/proc/self/mem");
  std::vector<std::byte> some(4);
  EXPECT_EQ(message_of([&] { file.read(some); }), "cannot read /proc/self/mem: Input/output error");
  EXPECT_EQ(message_of([&] { file.read_at(0, some); }), "cannot read /proc/self/mem: Input/output error");
  EXPECT_EQ(message_of([] { read_file("/proc/self/mem"); }), "cannot read /proc/self/mem: Input/output error");
}

TEST(ReadFile, TakesFilesOfAnyLengthAndWhatDoesNotSayItsLength) {
  const TemporaryDirectory folder;
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{65536}, std::size_t{200'000}}) {
    std::string content(length, 'x');
    if (length > 0) content.back() = 'y';
    write_file(folder / "f", content);
    EXPECT_EQ(read_file(folder / "f"), content) << length;
  }
  EXPECT_EQ(read_file("/dev/null"), "");
  EXPECT_FALSE(read_file("/proc/self/maps").empty());
}

}  // namespace
}  // namespace lshdp
