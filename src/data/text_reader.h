// Text files as a tokenizer takes them: unpacked, converted if asked, with a line on what they look like instead.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace lshdp::data {

/// Reads files one after the other and remembers what is odd about them, to say each thing once.
class TextReader {
 public:
  /// `encoding`: what iconv calls it; the text is converted to UTF-8 and loses its byte order mark. Empty: bytes are
  /// taken as they are. Throws UsageError if iconv does not know it.
  explicit TextReader(std::string encoding);

  /// Throws UsageError naming the file: unreadable, damaged gzip, a format that is no text, bytes that are not of the
  /// encoding.
  std::string read(const std::filesystem::path& path);

  /// Remembers that `remark` holds for the file; remark() of the first file is what is said.
  void note(const std::string& remark, const std::filesystem::path& path);
  /// Warns once for each remark, with the first file and the number of others.
  void warn() const;

 private:
  void look_at(std::string_view text, const std::filesystem::path& path);

  std::string encoding_;
  std::map<std::string, std::pair<std::filesystem::path, std::int64_t>> remarks_;  // first file, files
};

/// What the zeros of `text` say of its encoding: "UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE", or nothing.
std::string encoding_by_zeros(std::string_view text);

/// The first byte that is not of UTF-8 text; text.size() if there is none.
std::size_t first_invalid_utf8(std::string_view text);

}  // namespace lshdp::data
