// Whole-or-absent files over POSIX calls, because iostreams do not say why a write failed.
#include "lshdp/core/file.h"

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/input_file.h"

namespace lshdp {
namespace {

namespace fs = std::filesystem;

bool is_wrong_place(int error) {
  return error == ENOENT || error == ENOTDIR || error == EISDIR || error == EACCES || error == EPERM || error == EROFS;
}

[[noreturn]] void fail_to_write(const fs::path& path, int error) { throw WriteError(path.string(), error); }

/// Writes all of `content`; returns 0 or the errno.
int write_all(int descriptor, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

/// fsyncs a file or a folder; returns 0 or the errno. Folders of some file systems refuse it, which is no loss of data.
int sync_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags);
  if (descriptor < 0) return errno;
  const int error = ::fsync(descriptor) != 0 ? errno : 0;
  ::close(descriptor);
  return error == EINVAL ? 0 : error;
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
}

}  // namespace

WriteError::WriteError(const std::string& file, int error)
    : RunError("cannot write " + file + ": " + std::strerror(error), is_wrong_place(error) ? 2 : 1) {}

void refuse_output(const std::string& message, int error) {
  const std::string text = fmt::format("{}: {}", message, std::strerror(error));
  if (is_wrong_place(error)) throw UsageError(text);
  throw RunError(text);
}

std::string read_file(const fs::path& path) {
  constexpr std::size_t piece = 1 << 16;
  InputFile file(path);
  std::string content;
  std::error_code error;
  if (const std::uintmax_t size = fs::file_size(path, error); !error) content.reserve(size + piece);
  for (std::size_t read = piece; read == piece;) {
    const std::size_t before = content.size();
    content.resize(before + piece);
    read = file.read(std::as_writable_bytes(std::span(content).subspan(before)));
    content.resize(before + read);
  }
  return content;
}

void write_file(const fs::path& path, std::string_view content) {
  const fs::path temporary = path.string() + ".tmp";
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) fail_to_write(path, errno);
  int error = write_all(descriptor, content);
  if (::close(descriptor) != 0 && error == 0) error = errno;
  if (error != 0) {
    remove_quietly(temporary);
    fail_to_write(path, error);
  }
  commit_file(temporary, path);
}

void commit_file(const fs::path& temporary, const fs::path& path) {
  std::error_code absent;
  const fs::file_status there = fs::status(path, absent);
  if (fs::exists(there) && !fs::is_regular_file(there) && !fs::is_directory(there)) {
    // Renaming would replace a device, a pipe or a link to one by a file.
    remove_quietly(temporary);
    throw UsageError(fmt::format("cannot write {}: it is no regular file", path.string()));
  }
  int error = sync_path(temporary, O_RDONLY | O_CLOEXEC);
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    remove_quietly(temporary);
    fail_to_write(path, error);
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if ((error = sync_path(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) != 0) fail_to_write(path, error);
}

LineWriter::LineWriter(const fs::path& path, bool append)
    : path_(path),
      descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0644)) {
  if (descriptor_ < 0) fail_to_write(path, errno);
}

LineWriter::~LineWriter() { ::close(descriptor_); }

void LineWriter::write(std::string_view line) {
  const int error = write_all(descriptor_, std::string(line) + '\n');
  if (error != 0) fail_to_write(path_, error);
}

void refuse_overwriting(std::string_view option, const fs::path& output, const std::vector<fs::path>& inputs) {
  std::error_code absent;
  for (const fs::path& input : inputs) {
    if (input.empty()) continue;
    if (fs::equivalent(output, input, absent) || fs::equivalent(output.string() + ".tmp", input, absent)) {
      throw UsageError(fmt::format("{} {} would overwrite an input ({}); choose another name", option, output.string(),
                                   input.string()));
    }
  }
}

NewFolders::NewFolders(const fs::path& folder, std::string_view what) : NewFolders() {
  std::error_code error;
  for (fs::path missing = fs::absolute(folder); missing.has_relative_path() && !fs::exists(missing, error) && !error;
       missing = missing.parent_path())
    made_.push_back(missing);
  fs::create_directories(folder, error);
  if (error) refuse_output(fmt::format("{}: cannot create {}", what, folder.string()), error.value());
}

NewFolders::~NewFolders() {
  for (const fs::path& folder : made_) remove_quietly(folder);  // a folder that holds something stays
}

NewFolders::NewFolders(NewFolders&& other) noexcept : made_(std::exchange(other.made_, {})) {}

NewFolders& NewFolders::operator=(NewFolders&& other) noexcept {
  std::swap(made_, other.made_);
  return *this;
}

NewFolders require_writable_file(const fs::path& path, std::string_view option) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!path.has_filename() || fs::is_directory(status))
    throw UsageError(fmt::format("{}: {} is a folder; name a file", option, path.string()));
  if (fs::exists(status) && !fs::is_regular_file(status))
    throw UsageError(fmt::format("{}: {} is a device or a pipe; name a file", option, path.string()));
  NewFolders made = require_writable_folder(fs::absolute(path).parent_path(), option);
  const fs::path temporary = path.string() + ".tmp";
  const bool there = fs::exists(temporary, error);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) refuse_output(fmt::format("{}: cannot write {}", option, path.string()), errno);
  ::close(descriptor);
  if (!there) remove_quietly(temporary);
  return made;
}

NewFolders require_writable_folder(const fs::path& folder, std::string_view what) {
  NewFolders made(folder, what);
  const fs::path probe = folder / fmt::format(".write-test-{}", ::getpid());
  const int descriptor = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) refuse_output(fmt::format("{}: cannot write into {}", what, folder.string()), errno);
  ::close(descriptor);
  remove_quietly(probe);
  return made;
}

}  // namespace lshdp
