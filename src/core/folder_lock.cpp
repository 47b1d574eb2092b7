// flock() on a file that names its holder.
#include "lshdp/core/folder_lock.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/wall_time.h"

namespace lshdp {
namespace {

namespace fs = std::filesystem;

/// Who holds a lock, as the file says it: "PID HOST TIME".
struct Holder {
  long pid = 0;
  std::string host, since;
};

std::string this_host() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

Holder read_holder(int descriptor) {
  std::array<char, 512> text{};
  Holder holder;
  if (::pread(descriptor, text.data(), text.size() - 1, 0) > 0)
    std::istringstream(text.data()) >> holder.pid >> holder.host >> holder.since;
  return holder;
}

void write_holder(int descriptor) {
  const std::string text = fmt::format("{} {} {}\n", ::getpid(), this_host(), utc_time_text());
  // Only what others are told depends on it: a full disk does not stop the lock.
  if (::ftruncate(descriptor, 0) == 0) [[maybe_unused]]
    const ssize_t written = ::pwrite(descriptor, text.data(), text.size(), 0);
}

bool runs_here(const Holder& holder) {
  return holder.host == this_host() && holder.pid > 0 && holder.pid != ::getpid() &&
         (::kill(static_cast<pid_t>(holder.pid), 0) == 0 || errno == EPERM);
}

[[noreturn]] void refuse(const fs::path& folder, const std::string& what, const Holder& holder) {
  const std::string who = holder.pid > 0
                              ? fmt::format("process {} on {}, since {}", holder.pid, holder.host, holder.since)
                              : "another process";
  throw UsageError(
      fmt::format("{}: {} is in use by {}; wait until it ends, or take another folder", what, folder.string(), who));
}

}  // namespace

FolderLock::FolderLock(const fs::path& folder, const std::string& what) : file_(folder / ".lock") {
  do {
    open_file(what);
    int error = 0;
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && (error = errno) == EINTR) error = 0;
    supported_ = error == 0;
    const Holder holder = read_holder(descriptor_);
    if (error == EWOULDBLOCK || (!supported_ && runs_here(holder))) {
      ::close(descriptor_);
      refuse(folder, what, holder);
    }
  } while (!is_file_of_folder());
  write_holder(descriptor_);
}

void FolderLock::open_file(const std::string& what) {
  if (descriptor_ >= 0) ::close(descriptor_);
  do {
    descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    made_ = descriptor_ >= 0;
    if (made_ || errno != EEXIST) break;
    descriptor_ = ::open(file_.c_str(), O_RDWR | O_CLOEXEC);
  } while (descriptor_ < 0 && errno == ENOENT);  // removed in between
  if (descriptor_ < 0)
    throw UsageError(fmt::format("{}: cannot write {}: {}", what, file_.string(), std::strerror(errno)));
}

/// False where the holder before has removed it between our opening and locking it.
bool FolderLock::is_file_of_folder() const {
  struct stat opened = {}, there = {};
  return ::fstat(descriptor_, &opened) == 0 && ::stat(file_.c_str(), &there) == 0 && opened.st_ino == there.st_ino &&
         opened.st_dev == there.st_dev;
}

FolderLock::~FolderLock() {
  // While it is still held: nobody else may take a file that is about to go.
  std::error_code ignored;
  if (made_) fs::remove(file_, ignored);
  // Without locks, an empty file says that nobody is there.
  if (!supported_) [[maybe_unused]]
    const int emptied = ::ftruncate(descriptor_, 0);
  ::close(descriptor_);
}

}  // namespace lshdp
