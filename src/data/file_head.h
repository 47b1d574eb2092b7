// What a file is, by its first bytes: for files that are taken for text or numbers but are something else.
#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace lshdp::data {

/// Bytes that are enough for every format known here.
inline constexpr std::size_t kHeadBytes = 512;

struct FileFormat {
  std::string name;    // "a zip archive"; empty: none that is known
  std::string remedy;  // "unpack it first"
};

/// The format that `head` begins. Text and raw numbers have none.
FileFormat format_of(std::span<const std::byte> head);

/// "UTF-16", "UTF-32" or "UTF-8" if `head` begins with its byte order mark; empty otherwise.
std::string byte_order_mark(std::span<const std::byte> head);

}  // namespace lshdp::data
