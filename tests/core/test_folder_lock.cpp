// FolderLock: one holder at a time, named to the others, let go by the kernel; and file systems without locks.
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/folder_lock.h"
#include "support/temporary_directory.h"

namespace {
bool file_system_has_locks = true;
std::function<void()> before_the_next_lock;
}  // namespace

/// Takes the place of the C library's in this program.
extern "C" int flock(int descriptor, int operation) noexcept {
  if (before_the_next_lock) std::exchange(before_the_next_lock, nullptr)();
  if (file_system_has_locks) return static_cast<int>(syscall(SYS_flock, descriptor, operation));
  errno = ENOLCK;
  return -1;
}

namespace lshdp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class FolderLockTest : public testing::Test {
 protected:
  ~FolderLockTest() override { file_system_has_locks = true; }
  /// What is said to one who wants the lock; empty: it was free.
  std::string refusal() const {
    try {
      const FolderLock lock(folder_.path(), "--results");
      return "";
    } catch (const UsageError& error) {
      return error.what();
    }
  }
  /// A process that holds the lock until it is killed.
  pid_t holder() const {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      const FolderLock lock(folder_.path(), "--results");
      [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1);
      while (true) pause();
    }
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
  }
  static void end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }

  const test::TemporaryDirectory folder_;
};

TEST_F(FolderLockTest, NamesTheProcessThatHoldsItUntilThatIsKilled) {
  const pid_t child = holder();
  EXPECT_THAT(refusal(), AllOf(HasSubstr("--results: " + folder_.path().string()),
                               HasSubstr("in use by process " + std::to_string(child) + " on ")));
  end(child);
  EXPECT_EQ(refusal(), "");
}

TEST_F(FolderLockTest, IsLetGoAtItsEnd) {
  {
    const FolderLock lock(folder_.path(), "--results");
    EXPECT_TRUE(lock.supported());
    EXPECT_THAT(refusal(), HasSubstr("in use"));
  }
  EXPECT_EQ(refusal(), "");
}

TEST_F(FolderLockTest, LeavesNoFileBehindThatItMade) {
  for (const bool has_locks : {true, false}) {
    file_system_has_locks = has_locks;
    {
      const FolderLock lock(folder_.path(), "--results");
      EXPECT_TRUE(std::filesystem::exists(folder_ / ".lock"));
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  }
  write_file(folder_ / ".lock", "");  // of a process that was killed
  EXPECT_EQ(refusal(), "");
  EXPECT_TRUE(std::filesystem::exists(folder_ / ".lock"));
}

TEST_F(FolderLockTest, OfAFileThatIsNoLongerTheFoldersIsNone) {
  auto first = std::make_unique<FolderLock>(folder_.path(), "--results");
  // The second opens the first's file, which goes before the second locks it.
  before_the_next_lock = [&] { first.reset(); };
  const FolderLock second(folder_.path(), "--results");
  EXPECT_EQ(first, nullptr);
  EXPECT_TRUE(std::filesystem::exists(folder_ / ".lock"));
  EXPECT_THAT(refusal(), HasSubstr("in use"));
}

TEST_F(FolderLockTest, FindsAProcessOfThisHostWhereThereAreNoLocks) {
  file_system_has_locks = false;
  const pid_t child = holder();
  EXPECT_THAT(refusal(), HasSubstr("in use by process " + std::to_string(child) + " on "));
  end(child);
  const FolderLock lock(folder_.path(), "--results");
  EXPECT_FALSE(lock.supported());
}

TEST_F(FolderLockTest, RefusesAFolderThatIsNotThere) {
  EXPECT_THROW(FolderLock("/nowhere/run", "--results"), UsageError);
}

}  // namespace
}  // namespace lshdp
