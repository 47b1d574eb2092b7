// Checksums by the xxhash library.
#include "lshdp/core/checksum.h"

#include <new>
#include <vector>

#include <fmt/format.h>
#include <xxhash.h>

#include "lshdp/core/input_file.h"

namespace lshdp {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

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
