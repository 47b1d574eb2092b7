// Checksums that tell whether bytes are still those that were written; not made to resist an attacker.
#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace lshdp {

/// XXH3 with 128 bits over all bytes added, however they are cut into pieces.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void add(std::span<const std::byte> bytes);
  /// "xxh3-128:" and 32 hexadecimal digits, the canonical form that xxh128sum prints.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The checksum of everything in a file. Throws UsageError "cannot read PATH: cause".
std::string checksum_of_file(const std::filesystem::path& path);

}  // namespace lshdp
