// Text, and files of raw tokens, as data sets.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/data/converters.h"
#include "token_output.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<std::uint32_t>;

std::string names_of(const std::vector<fs::path>& files) {
  constexpr std::size_t shown = 3;
  std::string names;
  for (std::size_t i = 0; i < std::min(files.size(), shown); ++i)
    names += (i == 0 ? "" : " ") + files[i].filename().string();
  return files.size() > shown ? fmt::format("{} and {} more", names, files.size() - shown) : names;
}

/// A file of raw tokens, read block by block.
class TokenFile {
 public:
  TokenFile(const fs::path& path, int bytes_per_token)
      : path_(path), width_(static_cast<std::size_t>(bytes_per_token)) {
    if (bytes_per_token != 1 && bytes_per_token != 2 && bytes_per_token != 4) {
      throw UsageError(fmt::format("tokens of {} bytes; choose u8, u16 or u32", bytes_per_token));
    }
    std::error_code error;
    const std::uintmax_t size = fs::file_size(path, error);
    if (error) throw UsageError(fmt::format("cannot read {}: {}", path.string(), error.message()));
    if (size == 0) throw UsageError(fmt::format("{}: holds no tokens", path.string()));
    if (size % width_ != 0) {
      throw UsageError(
          fmt::format("{}: {} bytes are not a multiple of {}, the bytes of a token", path.string(), size, width_));
    }
    count_ = static_cast<std::int64_t>(size / width_);
  }

  std::int64_t count() const { return count_; }

  template <typename F>
  void for_each_block(F f) const {
    std::ifstream file(path_, std::ios::binary);
    std::vector<unsigned char> bytes(width_ << 20);
    for (std::int64_t left = count_; left > 0;) {
      const std::int64_t tokens = std::min<std::int64_t>(left, 1 << 20);
      if (!file.read(reinterpret_cast<char*>(bytes.data()),
                     static_cast<std::streamsize>(tokens) * static_cast<std::streamsize>(width_))) {
        throw UsageError(fmt::format("cannot read {}: {}", path_.string(), std::strerror(errno)));
      }
      f(decoded(bytes, static_cast<std::size_t>(tokens)), count_ - left);
      left -= tokens;
    }
  }

 private:
  Tokens decoded(const std::vector<unsigned char>& bytes, std::size_t count) const {
    Tokens tokens(count);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t byte = width_; byte-- > 0;) tokens[i] = tokens[i] << 8 | bytes[i * width_ + byte];
    }
    return tokens;
  }

  fs::path path_;
  std::size_t width_;
  std::int64_t count_ = 0;
};

std::int64_t largest(const TokenFile& file) {
  std::int64_t most = 0;
  file.for_each_block([&](const Tokens& tokens, std::int64_t) {
    most = std::max<std::int64_t>(most, *std::max_element(tokens.begin(), tokens.end()));
  });
  return most;
}

void require_below(const Tokens& tokens, std::int64_t first, std::int64_t vocabulary, const fs::path& path) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= vocabulary) {
      throw UsageError(fmt::format("{}: token {} is {}; with a vocabulary of {} it must be from 0 to {}", path.string(),
                                   first + static_cast<std::int64_t>(i), tokens[i], vocabulary, vocabulary - 1));
    }
  }
}

}  // namespace

void convert_text(const std::vector<fs::path>& files, const Tokenizer& tokenizer, const TokenOutput& output) {
  std::string text;
  for (const fs::path& file : files) text += read_file(file);
  if (text.empty()) throw UsageError(fmt::format("{}: holds no text", names_of(files)));
  const Tokens tokens = tokenizer.encode(text);
  SplitTokenWriter writer(output, static_cast<std::int64_t>(tokens.size()), tokenizer.vocabulary());
  writer.add(tokens);
  writer.commit(tokenizer.name(), fmt::format("text {}", names_of(files)));
}

void convert_tokens(const fs::path& path, int bytes_per_token, std::int64_t vocabulary, const TokenOutput& output) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  const TokenFile file(path, bytes_per_token);
  const std::int64_t known = vocabulary == 0 ? largest(file) + 1 : vocabulary;
  if (known < 1 || known > most) {
    throw UsageError(fmt::format("{}: a vocabulary of {}; it must be from 1 to {}", path.string(), known, most));
  }
  SplitTokenWriter writer(output, file.count(), known);
  file.for_each_block([&](const Tokens& tokens, std::int64_t first) {
    require_below(tokens, first, known, path);
    writer.add(tokens);
  });
  writer.commit("", fmt::format("tokens {}", path.filename().string()));
}

}  // namespace lshdp::data
