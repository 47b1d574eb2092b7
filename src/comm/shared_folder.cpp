// Files with a random name and content, written on one rank and looked for on others.
#include "lshdp/comm/shared_folder.h"

#include <cerrno>
#include <cstring>
#include <random>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"

namespace lshdp::comm {
namespace {

namespace fs = std::filesystem;

constexpr double kBetweenLooks = 0.05;

std::string random_name() {
  std::random_device random;
  return fmt::format(".lshdp-shared-{:08x}{:08x}", random(), random());
}

/// Whether the file holds `content`; errno tells why it cannot be read.
bool holds(const fs::path& path, const std::string& content) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  std::string found(content.size() + 1, '\0');
  const ssize_t count = read(descriptor, found.data(), found.size());
  const int error = errno;
  close(descriptor);
  errno = count < 0 ? error : 0;
  return count == static_cast<ssize_t>(content.size()) && found.compare(0, content.size(), content) == 0;
}

bool comes_to_hold(const fs::path& path, const std::string& content, double patience_seconds) {
  const double until = now_seconds() + patience_seconds;
  while (!holds(path, content)) {
    if (now_seconds() >= until) return false;
    sleep_until(now_seconds() + kBetweenLooks);
  }
  return true;
}

void write_small_file(const fs::path& path, const std::string& content, const std::string& what) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  const bool written =
      descriptor >= 0 && write(descriptor, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  const int error = errno;
  if (descriptor >= 0) close(descriptor);
  if (!written) {
    refuse_output(fmt::format("{}: cannot write into {}", what, fs::absolute(path.parent_path()).string()), error);
  }
}

/// Removes what this rank has written, however the proof ends.
class Written {
 public:
  explicit Written(fs::path path) : path_(std::move(path)) {}
  ~Written() {
    std::error_code none;
    fs::remove(path_, none);
  }
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;

 private:
  fs::path path_;
};

[[noreturn]] void refuse(const std::string& what, const fs::path& folder, const std::string& problem) {
  throw UsageError(
      fmt::format("{}: {} {}; give a folder that all nodes share", what, fs::absolute(folder).string(), problem));
}

/// What this rank writes is gone at the end.
void prove(Communicator& communicator, const fs::path& folder, const std::string& name, const std::string& what,
           double patience_seconds) {
  const int rank = communicator.rank();
  const std::vector<std::string> nodes = all_gather_hosts(communicator);
  const auto file_of = [&](int writer) { return folder / fmt::format("{}-{}", name, writer); };
  const auto content_of = [&](int writer) { return fmt::format("{} {}", name, writer); };
  const Written mine(file_of(rank));
  on_rank_0(communicator, [&] {
    write_small_file(file_of(0), content_of(0), what);
    return std::string();
  });
  agree(communicator, [&] {
    if (rank == 0) return;
    if (!comes_to_hold(file_of(0), content_of(0), patience_seconds))
      refuse(what, folder,
             fmt::format("is not the folder of rank 0 ({}): a file written there is not seen ({})", nodes[0],
                         errno == 0 ? "another content" : std::strerror(errno)));
    write_small_file(file_of(rank), content_of(rank), what);
  });
  on_rank_0(communicator, [&] {
    for (int writer = 1; writer < communicator.size(); ++writer) {
      if (comes_to_hold(file_of(writer), content_of(writer), patience_seconds)) continue;
      refuse(
          what, folder,
          fmt::format("does not show what rank {} ({}) writes there", writer, nodes[static_cast<std::size_t>(writer)]));
    }
    return std::string();
  });
}

}  // namespace

void require_shared_folder(Communicator& communicator, const fs::path& folder, const std::string& what,
                           double patience_seconds) {
  NewFolders made;
  const std::string name = on_rank_0(communicator, [&] {
    made = require_writable_folder(folder, what);
    return random_name();
  });
  if (communicator.size() == 1) return;
  prove(communicator, folder, name, what, patience_seconds);
  communicator.barrier();  // all files are gone before the folder is
}

}  // namespace lshdp::comm
