// gzip through zlib, encodings through iconv.
#include "text_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fmt/format.h>
#include <iconv.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/log.h"
#include "lshdp/data/formats.h"
#include "text_remedy.h"
#include "utf8.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUtf8Mark = "\xef\xbb\xbf";

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Owns iconv's state.
class Converter {
 public:
  explicit Converter(const std::string& encoding) : encoding_(encoding), state_(iconv_open("UTF-8", encoding.c_str())) {
    if (state_ == reinterpret_cast<iconv_t>(-1)) {
      throw UsageError(fmt::format("--encoding: '{}' is not known here; 'iconv -l' lists what is", encoding));
    }
  }
  ~Converter() { iconv_close(state_); }
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;

  /// Throws UsageError naming `source` and the first byte that does not fit.
  std::string operator()(std::string_view text, const std::string& source) {
    std::string result;
    std::array<char, 1 << 16> block;
    char* from = const_cast<char*>(text.data());  // iconv's interface; it does not write there
    std::size_t left = text.size();
    iconv(state_, nullptr, nullptr, nullptr, nullptr);
    // The last call gives what is held back because a mark that belongs to it could follow.
    for (bool ended = false; !ended;) {
      ended = left == 0;
      char* to = block.data();
      std::size_t room = block.size();
      const std::size_t done = iconv(state_, ended ? nullptr : &from, &left, &to, &room);
      const int error = errno;
      result.append(block.data(), block.size() - room);
      if (done == static_cast<std::size_t>(-1) && error != E2BIG) {
        throw UsageError(
            fmt::format("{}: byte {} is not {} text; see --encoding", source, text.size() - left, encoding_));
      }
    }
    return result;
  }

 private:
  std::string encoding_;
  iconv_t state_;
};

/// The zeros at each place of four.
std::array<std::size_t, 4> zeros_by_place(std::string_view text) {
  std::array<std::size_t, 4> zeros{};
  for (std::size_t i = 0; i < text.size(); ++i) zeros[i % 4] += text[i] == '\0' ? 1 : 0;
  return zeros;
}

}  // namespace

std::string encoding_by_zeros(std::string_view text) {
  constexpr std::size_t fewest = 16;
  if (text.size() < fewest) return {};
  const std::array<std::size_t, 4> zeros = zeros_by_place(text);
  std::string places;  // '0': mostly zeros, 'x': hardly any
  for (const std::size_t count : zeros) {
    const double share = static_cast<double>(count) / (static_cast<double>(text.size()) / 4);
    places += share > 0.5 ? '0' : share < 0.05 ? 'x' : '?';
  }
  if (places == "x000") return "UTF-32LE";
  if (places == "000x" || places == "00?x") return "UTF-32BE";
  if (places == "x0x0") return "UTF-16LE";
  if (places == "0x0x") return "UTF-16BE";
  return {};
}

std::size_t first_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Character character = utf8_character(text, at);
    if (!character.valid) return at;
    at += character.size;
  }
  return text.size();
}

TextReader::TextReader(std::string encoding) : encoding_(std::move(encoding)) {
  if (!encoding_.empty()) Converter{encoding_};
}

std::string TextReader::read(const fs::path& path) {
  std::string text = read_file(path);
  const auto format = [&] { return format_of(std::string_view(text).substr(0, kHeadBytes)); };
  if (format().id == FileFormat::Id::gzip) {
    const std::vector<std::byte> unpacked = decompressed(bytes_of(text), path.string());
    text.assign(reinterpret_cast<const char*>(unpacked.data()), unpacked.size());
  }
  if (const FileFormat other = format(); !other.name.empty() && !other.doubtful)
    throw UsageError(fmt::format("{}: is {}, not text; {}", path.string(), other.name, text_remedy(other)));
  if (!encoding_.empty()) {
    text = Converter(encoding_)(text, path.string());
    if (text.starts_with(kUtf8Mark)) text.erase(0, kUtf8Mark.size());
  }
  look_at(text, path);
  return text;
}

void TextReader::look_at(std::string_view text, const fs::path& path) {
  if (const std::string_view mark = byte_order_mark(text); mark == "UTF-8") {
    note("begins with UTF-8's byte order mark, which is taken as text; --encoding UTF-8 leaves it out", path);
  } else if (!mark.empty()) {
    note(fmt::format("is {0} text by its byte order mark, but is taken byte by byte; --encoding {0} converts it", mark),
         path);
  } else if (const std::string likely = encoding_by_zeros(text); !likely.empty()) {
    note(fmt::format("looks like {0} text by its zero bytes, but is taken byte by byte; --encoding {0} converts it",
                     likely),
         path);
  } else if (text.find('\0') != std::string_view::npos) {
    note("holds zero bytes, which text has not; they are taken as they are", path);
  } else if (first_invalid_utf8(text) < text.size()) {
    note("holds bytes that are not UTF-8 text; they are taken as they are (--encoding LATIN1, for example, converts)",
         path);
  }
}

void TextReader::note(const std::string& remark, const fs::path& path) {
  ++remarks_.try_emplace(remark, path, 0).first->second.second;
}

void TextReader::warn() const {
  for (const auto& [remark, files] : remarks_) {
    const std::string more = files.second > 1 ? fmt::format(" (the same holds for {} more)", files.second - 1) : "";
    spdlog::warn("{}: {}{}", files.first.string(), remark, more);
  }
}

}  // namespace lshdp::data
