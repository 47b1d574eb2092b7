// A file that is read as bytes: where the system refuses, the message says why.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace lshdp {

/// An open file, closed when it goes out of scope. Every function throws UsageError "cannot read PATH: CAUSE".
class InputFile {
 public:
  /// Refuses folders.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// Bytes of the file now. Refuses pipes and devices, which do not say.
  std::uint64_t size() const;
  /// Reads the next bytes into the beginning of `into` and returns how many: less than its size only at the end.
  std::size_t read(std::span<std::byte> into);
  /// Fills `into` with the bytes from `offset` on; that they are not there is an error.
  void read_at(std::uint64_t offset, std::span<std::byte> into) const;

 private:
  [[noreturn]] void fail(const std::string& cause) const;

  std::string name_;
  int descriptor_;
};

}  // namespace lshdp
