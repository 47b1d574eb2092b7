// Files are whole or absent, also when the disk is full.
#include <cerrno>
#include <cstring>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "support/temporary_directory.h"

namespace lshdp {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;
using testing::HasSubstr;

template <typename Work>
std::string message_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

template <typename Work>
int exit_code_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error.exit_code();
  }
  return 0;
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// A file system with room for `bytes`, as long as it lives.
class SmallDisk {
 public:
  explicit SmallDisk(int bytes)
      : mounted_(mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, ("size=" + std::to_string(bytes)).c_str()) == 0),
        problem_(mounted_ ? "" : std::strerror(errno)) {}
  ~SmallDisk() {
    if (mounted_) umount(folder_.path().c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  const std::string& problem() const { return problem_; }
  fs::path operator/(const char* name) const { return folder_ / name; }
  const fs::path& path() const { return folder_.path(); }

 private:
  TemporaryDirectory folder_;
  bool mounted_;
  std::string problem_;
};

TEST(RefuseOverwriting, KnowsAnInputUnderEveryName) {
  const TemporaryDirectory folder;
  const fs::path input = folder / "input";
  write_file(input, "x");
  write_file(folder / "out.tmp", "y");
  fs::create_symlink(input, folder / "link");
  fs::create_hard_link(input, folder / "other");
  fs::create_directory(folder / "sub");
  for (const char* name : {"input", "link", "other", "sub/../input"}) {
    EXPECT_THAT(
        message_of([&] {
          refuse_overwriting("--out", folder / name, {folder / "missing", input});
        }),
        testing::AllOf(testing::StartsWith("--out "), HasSubstr("would overwrite"), HasSubstr("choose another")))
        << name;
  }
  EXPECT_THAT(message_of([&] { refuse_overwriting("--out", folder / "out", {folder / "out.tmp"}); }),
              HasSubstr("out.tmp"));
  EXPECT_EQ(message_of([&] { refuse_overwriting("--out", folder / "out", {"", input, folder / "out"}); }), "no error");
  EXPECT_THROW(refuse_overwriting("--out", input, {input}), UsageError);
}

TEST(ReadFile, GivesEveryByte) {
  const TemporaryDirectory folder;
  const std::string content("a\0b\r\n\xff", 6);
  write_file(folder / "f", content);
  EXPECT_EQ(read_file(folder / "f"), content);
  write_file(folder / "empty", "");
  EXPECT_EQ(read_file(folder / "empty"), "");
}

TEST(ReadFile, SaysWhatIsWrong) {
  const TemporaryDirectory folder;
  EXPECT_THAT(message_of([&] { read_file(folder / "absent"); }), HasSubstr("absent: No such file"));
  EXPECT_THAT(message_of([&] { read_file(folder.path()); }), HasSubstr("it is a folder"));
  EXPECT_THROW(read_file(folder / "absent"), UsageError);
}

TEST(WriteFile, ReplacesAndLeavesNothingElseBehind) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "old and longer");
  write_file(folder / "f", "new");
  EXPECT_EQ(read_file(folder / "f"), "new");
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(WriteFile, FailsWithoutAFolder) {
  const TemporaryDirectory folder;
  EXPECT_THAT(message_of([&] { write_file(folder / "no/f", "x"); }), HasSubstr("No such file"));
  EXPECT_EQ(exit_code_of([&] { write_file(folder / "no/f", "x"); }), 2);
}

TEST(WriteFile, LeavesTheOldFileWhenTheDiskIsFull) {
  const SmallDisk disk(64 * 1024);
  if (!disk.mounted()) GTEST_SKIP() << "needs to mount a small tmpfs: " << disk.problem();
  write_file(disk / "f", "old");
  EXPECT_THAT(message_of([&] { write_file(disk / "f", std::string(1 << 20, 'x')); }), HasSubstr("No space left"));
  EXPECT_EQ(exit_code_of([&] { write_file(disk / "f", std::string(1 << 20, 'x')); }), 1);
  EXPECT_EQ(read_file(disk / "f"), "old");
  EXPECT_EQ(entries(disk.path()), 1U);
}

TEST(CommitFile, MovesAFileThatALibraryWrote) {
  const TemporaryDirectory folder;
  write_file(folder / "f.part", "content");
  commit_file(folder / "f.part", folder / "f");
  EXPECT_EQ(read_file(folder / "f"), "content");
  EXPECT_FALSE(fs::exists(folder / "f.part"));
}

TEST(CommitFile, RemovesTheTemporaryFileWhereItCannotMoveIt) {
  const TemporaryDirectory folder;
  write_file(folder / "f.part", "content");
  fs::create_directory(folder / "f");
  EXPECT_THROW(commit_file(folder / "f.part", folder / "f"), RunError);
  EXPECT_FALSE(fs::exists(folder / "f.part"));
}

TEST(LineWriter, AppendsOrStartsAnew) {
  const TemporaryDirectory folder;
  LineWriter(folder / "log", false).write("one");
  LineWriter(folder / "log", true).write("two");
  EXPECT_EQ(read_file(folder / "log"), "one\ntwo\n");
  LineWriter(folder / "log", false).write("three");
  EXPECT_EQ(read_file(folder / "log"), "three\n");
}

TEST(LineWriter, ReportsAFullDiskAtTheLineThatDidNotFit) {
  LineWriter writer("/dev/full", true);
  EXPECT_THAT(message_of([&] { writer.write("line"); }), HasSubstr("cannot write /dev/full: No space left"));
}

TEST(WritableFile, IsProvedWithoutLeavingAnything) {
  const TemporaryDirectory folder;
  {
    const NewFolders made = require_writable_file(folder / "sub/below/new", "--out");
    EXPECT_TRUE(fs::is_empty(folder / "sub/below"));
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
  write_file(folder / "old", "x");
  const NewFolders made = require_writable_file(folder / "old", "--out");
  EXPECT_EQ(read_file(folder / "old"), "x");
}

TEST(WritableFile, IsRefusedWhereNoFileCanBe) {
  const TemporaryDirectory folder;
  write_file(folder / "file", "x");
  EXPECT_THAT(message_of([&] { static_cast<void>(require_writable_file(folder.path(), "--out")); }),
              testing::AllOf(testing::StartsWith("--out: "), HasSubstr("is a folder; name a file")));
  EXPECT_THAT(message_of([&] { static_cast<void>(require_writable_file(folder / "sub/", "--out")); }),
              HasSubstr("is a folder"));
  EXPECT_THAT(message_of([&] { static_cast<void>(require_writable_file("/dev/null", "--out")); }),
              HasSubstr("is a device or a pipe"));
  EXPECT_THAT(message_of([&] { static_cast<void>(require_writable_file(folder / "file/below", "--out")); }),
              HasSubstr("--out: cannot "));
  const std::string long_name(300, 'n');
  EXPECT_THAT(message_of([&] { static_cast<void>(require_writable_file(folder / long_name.c_str(), "--out")); }),
              HasSubstr("File name too long"));
}

TEST(WritableFolder, IsCreatedWithItsParents) {
  const TemporaryDirectory folder;
  const NewFolders made = require_writable_folder(folder / "a/b/c", "--results");
  EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
  EXPECT_EQ(entries(folder / "a/b/c"), 0U);
}

TEST(WritableFolder, GoesAgainUnlessSomethingWasWrittenThere) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "there");
  for (const char* name : {"a/b/", "there", "there/c", "a/../d"}) {
    const NewFolders made = require_writable_folder(folder / name, "--results");
    EXPECT_TRUE(fs::is_directory(folder / name)) << name;
  }
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_TRUE(fs::is_empty(folder / "there"));
  NewFolders kept;
  {
    NewFolders made = require_writable_folder(folder / "e/f", "--results");
    kept = std::move(made);
  }
  EXPECT_TRUE(fs::is_directory(folder / "e/f"));
  write_file(folder / "e/file", "x");
  kept = {};
  EXPECT_FALSE(fs::exists(folder / "e/f"));
  EXPECT_TRUE(fs::exists(folder / "e/file"));
}

TEST(WritableFolder, IsRefusedWhereAFileStandsInTheWay) {
  const TemporaryDirectory folder;
  write_file(folder / "file", "x");
  EXPECT_THAT(message_of([&] { static_cast<void>(require_writable_folder(folder / "file/sub", "--results")); }),
              HasSubstr("--results: cannot"));
  EXPECT_THROW(static_cast<void>(require_writable_folder(folder / "file", "--results")), UsageError);
}

TEST(WritableFolder, IsRefusedWithoutPermission) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryDirectory folder;
  chmod(folder.path().c_str(), 0555);
  EXPECT_THROW(static_cast<void>(require_writable_folder(folder.path(), "--results")), UsageError);
  chmod(folder.path().c_str(), 0755);
}

}  // namespace
}  // namespace lshdp
