// Files of tokens: raw integers, NumPy's .npy and llm.c's shards, told apart by their heads.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lshdp/core/input_file.h"
#include "lshdp/data/converters.h"

namespace lshdp::data {

/// A file of tokens, read block by block.
class TokenFile {
 public:
  /// Throws UsageError naming the file: unreadable, empty, another format, a header that is damaged or does not fit the
  /// file's size, raw without a type, a type that is not the header's.
  TokenFile(std::filesystem::path path, const TokenFormat& format);

  const std::filesystem::path& path() const { return path_; }
  std::int64_t count() const { return count_; }
  /// Calls f(tokens, number of the first). Throws UsageError on a token below 0 or above 2^31 - 2.
  void for_each_block(const std::function<void(std::span<const std::uint32_t>, std::int64_t)>& f) const;
  /// What is odd about the first tokens of a raw file, and the option that may be right; empty if nothing is.
  std::string doubt() const;

 private:
  void read_head(const InputFile& file, const TokenFormat& format);
  void read_llm_c(std::span<const std::byte> head);
  void take_raw(const TokenFormat& format);
  std::vector<std::byte> bytes_of_block(const InputFile& file, std::int64_t first) const;
  std::vector<std::uint32_t> decoded(std::span<const std::byte> bytes, std::int64_t first) const;
  void require_size(std::int64_t tokens, const std::string& header);
  [[noreturn]] void refuse(const std::string& problem) const;

  std::filesystem::path path_;
  IntegerType type_;
  bool raw_ = false;
  std::int64_t size_ = 0;    // bytes of the file
  std::int64_t offset_ = 0;  // of the first token
  std::int64_t count_ = 0;
};

/// What raw tokens that were read as `type` look like instead: "3 of 4 tokens are 0, as in a file of 8-byte integers
/// (try --dtype u64)". Empty if nothing is odd, or there are too few tokens to tell.
std::string doubt_about(std::span<const std::uint32_t> tokens, const IntegerType& type);

}  // namespace lshdp::data
