// Heads of token files, and integers of any width, sign and byte order.
#include "token_file.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file_kind.h"
#include "text_remedy.h"

namespace lshdp::data {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::int64_t kMaxTokenValue = std::numeric_limits<std::int32_t>::max() - 1;
constexpr std::size_t kLlmCHeader = 1024;  // 256 integers of 4 bytes
constexpr std::int64_t kBlock = 1 << 20;   // tokens

/// Assembled byte by byte, so that the machine's own byte order does not matter.
std::uint64_t integer_at(const std::byte* bytes, const IntegerType& type) {
  std::uint64_t value = 0;
  const auto width = static_cast<std::size_t>(type.bytes);
  for (std::size_t i = 0; i < width; ++i)
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[type.big_endian ? i : width - 1 - i]);
  return value;
}

std::int64_t little_endian(Bytes bytes, std::size_t at, int width) {
  return static_cast<std::int64_t>(integer_at(bytes.data() + at, {width, false, false}));
}

bool is_negative(std::uint64_t value, const IntegerType& type) {
  return type.is_signed && (value >> (8 * type.bytes - 1) & 1) != 0;
}

std::string signed_text(std::uint64_t value, const IntegerType& type) {
  const int unused = 64 - 8 * type.bytes;
  return std::to_string(static_cast<std::int64_t>(value << unused) >> unused);
}

/// Whether all tokens are 0 whose number modulo `period` is in [begin, end).
bool zeros_at(std::span<const std::uint32_t> tokens, std::size_t period, std::size_t begin, std::size_t end) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i % period >= begin && i % period < end && tokens[i] != 0) return false;
  }
  return true;
}

std::string zeros_of(std::span<const std::uint32_t> tokens) {
  const auto zeros = std::count(tokens.begin(), tokens.end(), 0U);
  return fmt::format("{:.0f} % of the tokens are 0",
                     100.0 * static_cast<double>(zeros) / static_cast<double>(tokens.size()));
}

/// Integers of more bytes leave zeros in the upper half of each group of tokens.
std::string doubt_about_width(std::span<const std::uint32_t> tokens, const IntegerType& type) {
  for (const int width : {8, 4, 2}) {
    const auto period = static_cast<std::size_t>(width / type.bytes);
    if (period < 2) break;
    const bool little = zeros_at(tokens, period, period / 2, period), big = zeros_at(tokens, period, 0, period / 2);
    if (little == big) continue;
    return fmt::format("{}, as in a file of {}-byte integers; if it is one, give --dtype u{}{}", zeros_of(tokens),
                       width, 8 * width, big ? " --byte-order big" : "");
  }
  return {};
}

/// Small integers of the other byte order are multiples of 256, or of 65536.
std::string doubt_about_order(std::span<const std::uint32_t> tokens, const IntegerType& type) {
  if (type.bytes == 1) return {};
  const std::uint32_t unit = type.bytes == 2 ? 0x100 : 0x10000;
  const auto fits = [&](std::uint32_t token) { return token % unit == 0; };
  if (!std::all_of(tokens.begin(), tokens.end(), fits)) return {};
  return fmt::format(
      "all tokens are multiples of {}, as if their bytes were in the other order; if so, give --byte-order {}", unit,
      type.big_endian ? "little" : "big");
}

bool all_printable(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) {
    const int c = std::to_integer<int>(byte);
    return (c >= ' ' && c <= '~') || (c >= '\t' && c <= '\r');
  });
}

}  // namespace

std::string doubt_about(std::span<const std::uint32_t> tokens, const IntegerType& type) {
  constexpr std::size_t fewest = 64;
  const bool only_zeros = std::all_of(tokens.begin(), tokens.end(), [](std::uint32_t token) { return token == 0; });
  if (tokens.size() < fewest || only_zeros) return {};
  const std::string width = doubt_about_width(tokens, type);
  return width.empty() ? doubt_about_order(tokens, type) : width;
}

TokenFile::TokenFile(std::filesystem::path path, const TokenFormat& format) : path_(std::move(path)) {
  const InputFile file(path_);
  size_ = static_cast<std::int64_t>(file.size());
  if (size_ == 0) refuse("holds no tokens");
  if (format.raw) {
    take_raw(format);
  } else {
    read_head(file, format);
  }
  if (count_ == 0) refuse("holds no tokens");
}

void TokenFile::refuse(const std::string& problem) const {
  throw UsageError(fmt::format("{}: {}", path_.string(), problem));
}

void TokenFile::read_head(const InputFile& file, const TokenFormat& format) {
  std::vector<std::byte> head(static_cast<std::size_t>(std::min<std::int64_t>(size_, 1 << 16)));
  file.read_at(0, head);
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  const FileFormat known = format_of(text.substr(0, kHeadBytes));
  const std::int64_t magic = head.size() >= 4 ? little_endian(head, 0, 4) : 0;
  if (known.id == FileFormat::Id::numpy) {
    const NumpyHeader header = parse_numpy_header(head, path_.string());
    type_ = header.type;
    offset_ = header.offset;
    require_size(header.count, "NumPy's header");
  } else if (magic == 20240520 || magic == 20240801) {
    read_llm_c(head);
  } else if (!known.name.empty() && !known.doubtful) {
    refuse(fmt::format("is {}, not raw tokens; {} (--raw takes its bytes for tokens)", known.name, text_remedy(known)));
  } else if (const std::string_view mark = byte_order_mark(text); !mark.empty()) {
    refuse(fmt::format(
        "is {} text by its byte order mark; lshdp data text converts text (--raw takes its bytes for tokens)", mark));
  } else {
    return take_raw(format);
  }
  if (format.type && *format.type != type_)
    refuse(fmt::format("holds {} by its header, not {}; leave out --dtype and --byte-order", to_text(type_),
                       to_text(*format.type)));
}

void TokenFile::read_llm_c(Bytes head) {
  if (head.size() < kLlmCHeader) refuse("the header of an llm.c shard has 1024 bytes; the file is truncated");
  type_ = {little_endian(head, 0, 4) == 20240520 ? 2 : 4, false, false};
  offset_ = kLlmCHeader;
  require_size(little_endian(head, 8, 4), "the header of the llm.c shard");
}

void TokenFile::require_size(std::int64_t tokens, const std::string& header) {
  const std::int64_t bytes = size_ - offset_;
  if (bytes % type_.bytes != 0 || bytes / type_.bytes != tokens) {
    refuse(fmt::format("{} says {} tokens of {} bytes, but {} bytes follow it; the file is {}", header, tokens,
                       type_.bytes, bytes, bytes / type_.bytes < tokens ? "truncated" : "too long"));
  }
  count_ = tokens;
}

void TokenFile::take_raw(const TokenFormat& format) {
  if (!format.type) refuse("raw tokens need --dtype (u8, u16, u32, u64, i16, i32 or i64)");
  raw_ = true;
  type_ = *format.type;
  if (size_ % type_.bytes != 0)
    refuse(fmt::format("{} bytes are not a multiple of {}, the bytes of a token", size_, type_.bytes));
  count_ = size_ / type_.bytes;
}

std::vector<std::uint32_t> TokenFile::decoded(Bytes bytes, std::int64_t first) const {
  const auto width = static_cast<std::size_t>(type_.bytes);
  std::vector<std::uint32_t> tokens(bytes.size() / width);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::uint64_t value = integer_at(bytes.data() + i * width, type_);
    if (is_negative(value, type_) || value > static_cast<std::uint64_t>(kMaxTokenValue)) {
      refuse(fmt::format(
          "token {} is {}; tokens are from 0 to {}: see --dtype and --byte-order", first + static_cast<std::int64_t>(i),
          is_negative(value, type_) ? signed_text(value, type_) : std::to_string(value), kMaxTokenValue));
    }
    tokens[i] = static_cast<std::uint32_t>(value);
  }
  return tokens;
}

std::vector<std::byte> TokenFile::bytes_of_block(const InputFile& file, std::int64_t first) const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(count_ - first, kBlock) * type_.bytes));
  file.read_at(static_cast<std::uint64_t>(offset_ + first * type_.bytes), bytes);
  return bytes;
}

void TokenFile::for_each_block(const std::function<void(std::span<const std::uint32_t>, std::int64_t)>& f) const {
  const InputFile file(path_);
  for (std::int64_t first = 0; first < count_; first += kBlock) f(decoded(bytes_of_block(file, first), first), first);
}

std::string TokenFile::doubt() const {
  if (!raw_) return {};
  const std::vector<std::byte> bytes = bytes_of_block(InputFile(path_), 0);
  if (type_.bytes > 1 && bytes.size() >= 64 && all_printable(bytes))
    return "all its bytes are printable characters; lshdp data text converts text";
  return doubt_about(decoded(bytes, 0), type_);
}

}  // namespace lshdp::data
