// Checksums by the xxhash library.
#include "lshdp/core/checksum.h"

#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include "lshdp/core/error.h"

namespace lshdp {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

[[noreturn]] void fail_to_read(const std::filesystem::path& path) {
  throw UsageError(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
}

/// An open file, closed when it goes out of scope.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail_to_read(path_);
  }
  ~InputFile() { ::close(descriptor_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// The next bytes, at most as many as `into` takes; 0 at the end.
  std::size_t read(std::span<std::byte> into) {
    ssize_t count = 0;
    do {
      count = ::read(descriptor_, into.data(), into.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0) fail_to_read(path_);
    return static_cast<std::size_t>(count);
  }

 private:
  const std::filesystem::path& path_;
  int descriptor_;
};

}  // namespace

struct Checksum::State {
  State() {
    if (xxh == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh);
  }
  ~State() { XXH3_freeState(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  XXH3_state_t* xxh = XXH3_createState();
};

Checksum::Checksum() : state_(std::make_unique<State>()) {}
Checksum::~Checksum() = default;

void Checksum::add(std::span<const std::byte> bytes) { XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size()); }

std::string Checksum::text() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh));
  std::string text = "xxh3-128:";
  for (const unsigned char digit : canonical.digest) text += fmt::format("{:02x}", digit);
  return text;
}

std::string checksum_of_file(const std::filesystem::path& path) {
  InputFile file(path);
  Checksum checksum;
  std::vector<std::byte> piece(kPieceBytes);
  while (const std::size_t count = file.read(piece)) checksum.add(std::span(piece).first(count));
  return checksum.text();
}

}  // namespace lshdp
