// Tokens of bytes and of GPT-2; its split pattern needs Unicode classes, which PCRE2 has.
#include "lshdp/data/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <array>
#include <limits>
#include <unordered_map>

#include <fmt/format.h>
#include <pcre2.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<std::uint32_t>;

std::size_t checked(std::int64_t token, std::int64_t vocabulary) {
  if (token >= 0 && token < vocabulary) return static_cast<std::size_t>(token);
  throw UsageError(fmt::format("token {} is not in the vocabulary; it must be from 0 to {}", token, vocabulary - 1));
}

class ByteTokenizer : public Tokenizer {
 public:
  std::string name() const override { return "byte"; }
  std::int64_t vocabulary() const override { return 256; }
  Tokens encode(std::string_view text) const override {
    Tokens tokens;
    tokens.reserve(text.size());
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  std::string decode(std::span<const std::int64_t> tokens) const override {
    std::string text;
    for (const std::int64_t token : tokens) text += static_cast<char>(checked(token, 256));
    return text;
  }
};

std::string utf8(std::uint32_t code) {  // up to U+07FF: the byte symbols end at U+0143
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

/// GPT-2 writes each byte as a printable character: itself where it is one in Latin-1, otherwise one from U+0100 on, in
/// order.
std::array<std::string, 256> byte_symbols() {
  std::array<std::string, 256> symbols;
  std::uint32_t next = 0x100;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    symbols[byte] = utf8(printable ? byte : next++);
  }
  return symbols;
}

/// Cuts text into the words within which bytes are merged.
class Splitter {
 public:
  Splitter() {
    constexpr const char* pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
    int error = 0;
    PCRE2_SIZE where = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &where, nullptr));
    if (!code_) throw RunError(fmt::format("PCRE2 refuses GPT-2's split pattern (error {})", error));
    // Without it, every match would check the whole rest of the text for UTF-8 first.
    if (pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) != 0) {
      throw RunError("the GPT-2 tokenizer needs PCRE2's just-in-time compiler, which is not available on this machine");
    }
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    if (!match_) throw RunError("cannot tokenize: not enough memory");
  }

  /// Calls f(piece) for pieces that together are `text`; what no word can hold (bytes that are not UTF-8) is a piece as
  /// well.
  template <typename F>
  void for_each_word(std::string_view text, F f) const {
    std::size_t done = 0;
    while (done < text.size()) {
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), done, 0,
                                    match_.get(), nullptr);
      if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        throw RunError(fmt::format("PCRE2 failed to match (error {})", found));
      const PCRE2_SIZE* at = pcre2_get_ovector_pointer(match_.get());
      const std::size_t begin = found < 0 ? text.size() : at[0];
      if (begin > done) f(text.substr(done, begin - done));
      if (found < 0) return;
      f(text.substr(begin, at[1] - begin));
      done = at[1];
    }
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

/// Tokens by number, as the encoder file writes them. Numbers must be 0 .. n - 1.
std::vector<std::string> read_encoder(const fs::path& path) {
  const Json json = read_json(path);
  if (!json.is_object() || json.empty())
    throw UsageError(fmt::format("{}: must be an object of tokens", path.string()));
  std::vector<std::string> texts(json.size());
  std::vector<bool> taken(json.size());
  for (const auto& [text, number] : json.items()) {
    const bool whole = number.is_number_integer() && number.get<std::int64_t>() >= 0 &&
                       number.get<std::uint64_t>() < texts.size() && !taken[number.get<std::size_t>()];
    if (!whole) {
      throw UsageError(fmt::format("{}: the number of token '{}' is {}; numbers must be 0 to {}, each once",
                                   path.string(), text, number.dump(), texts.size() - 1));
    }
    texts[number.get<std::size_t>()] = text;
    taken[number.get<std::size_t>()] = true;
  }
  return texts;
}

using Numbers = std::unordered_map<std::string_view, std::uint32_t>;

/// What two neighbouring tokens become, and how early.
struct Merge {
  std::uint32_t rank, token;
};
using Merges = std::unordered_map<std::uint64_t, Merge>;

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) { return std::uint64_t{left} << 32 | right; }

std::uint32_t number_of(const Numbers& numbers, std::string_view text, const std::string& where) {
  const auto found = numbers.find(text);
  if (found == numbers.end()) throw UsageError(fmt::format("{}: '{}' is no token of the encoder", where, text));
  return found->second;
}

Merges read_merges(const fs::path& path, const Numbers& numbers) {
  const std::string content = read_file(path);
  Merges merges;
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < content.size();) {
    const std::size_t end = std::min(content.find('\n', at), content.size());
    std::string_view line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const std::string where = fmt::format("{} line {}", path.string(), line_number);
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos) {
      throw UsageError(fmt::format("{}: a merge is two tokens with a blank between them", where));
    }
    const std::string_view left = line.substr(0, blank), right = line.substr(blank + 1);
    const Merge merge{static_cast<std::uint32_t>(line_number),
                      number_of(numbers, std::string(left) + std::string(right), where)};
    merges.emplace(pair_key(number_of(numbers, left, where), number_of(numbers, right, where)), merge);
  }
  return merges;
}

class Gpt2Tokenizer : public Tokenizer {
 public:
  Gpt2Tokenizer(const fs::path& encoder, const fs::path& merges) {
    const std::vector<std::string> texts = read_encoder(encoder);
    Numbers numbers;
    for (std::size_t i = 0; i < texts.size(); ++i) numbers.emplace(texts[i], static_cast<std::uint32_t>(i));
    const std::array<std::string, 256> symbols = byte_symbols();
    std::unordered_map<std::string_view, char> bytes;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      byte_tokens_[byte] = number_of(numbers, symbols[byte], fmt::format("{}: byte {}", encoder.string(), byte));
      bytes.emplace(symbols[byte], static_cast<char>(byte));
    }
    merges_ = read_merges(merges, numbers);
    for (const std::string& text : texts) decoded_.push_back(bytes_of(text, bytes));
  }

  std::string name() const override { return "gpt2"; }
  std::int64_t vocabulary() const override { return static_cast<std::int64_t>(decoded_.size()); }

  Tokens encode(std::string_view text) const override {
    Tokens tokens;
    tokens.reserve(text.size() / 3);
    splitter_.for_each_word(text, [&](std::string_view word) {
      const Tokens& merged = merged_word(word);
      tokens.insert(tokens.end(), merged.begin(), merged.end());
    });
    return tokens;
  }

  std::string decode(std::span<const std::int64_t> tokens) const override {
    std::string text;
    for (const std::int64_t token : tokens) text += decoded_[checked(token, vocabulary())];
    return text;
  }

 private:
  /// A token's bytes; characters that stand for no byte (in tokens made by hand) stay as they are.
  static std::string bytes_of(const std::string& text, const std::unordered_map<std::string_view, char>& bytes) {
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = at + 1;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
      const std::string_view symbol = std::string_view(text).substr(at, end - at);
      const auto found = bytes.find(symbol);
      result += found == bytes.end() ? std::string(symbol) : std::string(1, found->second);
      at = end;
    }
    return result;
  }

  /// Words repeat: what they become is kept, up to a million of them.
  const Tokens& merged_word(std::string_view word) const {
    constexpr std::size_t most_words = 1'000'000;
    const auto found = words_.find(std::string(word));
    if (found != words_.end()) return found->second;
    if (words_.size() >= most_words) words_.clear();
    return words_.emplace(std::string(word), merge(word)).first->second;
  }

  Tokens merge(std::string_view word) const {
    Tokens tokens;
    for (const char c : word) tokens.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
    while (const Merge* best = first_merge(tokens)) apply(*best, tokens);
    return tokens;
  }

  const Merge* merge_at(const Tokens& tokens, std::size_t i) const {
    const auto found = merges_.find(pair_key(tokens[i], tokens[i + 1]));
    return found == merges_.end() ? nullptr : &found->second;
  }

  const Merge* first_merge(const Tokens& tokens) const {
    const Merge* best = nullptr;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const Merge* merge = merge_at(tokens, i);
      if (merge != nullptr && (best == nullptr || merge->rank < best->rank)) best = merge;
    }
    return best;
  }

  /// Merges every such pair, left to right.
  void apply(const Merge& chosen, Tokens& tokens) const {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < tokens.size(); ++kept) {
      const Merge* merge = i + 1 < tokens.size() ? merge_at(tokens, i) : nullptr;
      const bool merges = merge != nullptr && merge->rank == chosen.rank;
      tokens[kept] = merges ? chosen.token : tokens[i];
      i += merges ? 2 : 1;
    }
    tokens.resize(kept);
  }

  Splitter splitter_;
  std::array<std::uint32_t, 256> byte_tokens_{};
  Merges merges_;
  std::vector<std::string> decoded_;
  mutable std::unordered_map<std::string, Tokens> words_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> make_gpt2_tokenizer(const fs::path& encoder, const fs::path& merges) {
  return std::make_unique<Gpt2Tokenizer>(encoder, merges);
}

}  // namespace lshdp::data
