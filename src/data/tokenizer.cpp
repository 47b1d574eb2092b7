// Tokens of bytes and of GPT-2.
#include "lshdp/data/tokenizer.h"

#include <array>
#include <unordered_map>

#include <fmt/format.h>

#include "byte_pairs.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "word_splitter.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

std::size_t checked(std::int64_t token, std::int64_t vocabulary) {
  if (token >= 0 && token < vocabulary) return static_cast<std::size_t>(token);
  throw UsageError(fmt::format("token {} is not in the vocabulary; it must be from 0 to {}", token, vocabulary - 1));
}

class ByteTokenizer : public Tokenizer {
 public:
  const TokenizerRecord& record() const override { return record_; }
  std::int64_t vocabulary() const override { return 256; }
  std::optional<std::uint32_t> end_of_text() const override { return std::nullopt; }
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

 private:
  TokenizerRecord record_{"byte", "", "", ""};
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

/// Tokens by number, as the encoder file writes them. Numbers must be 0 .. n - 1.
std::vector<std::string> parse_encoder(std::string_view content, const std::string& source) {
  const Json json = parse_json(content, source);
  if (!json.is_object() || json.empty()) throw UsageError(fmt::format("{}: must be an object of tokens", source));
  std::vector<std::string> texts(json.size());
  std::vector<bool> taken(json.size());
  for (const auto& [text, number] : json.items()) {
    const bool whole = number.is_number_integer() && number.get<std::int64_t>() >= 0 &&
                       number.get<std::uint64_t>() < texts.size() && !taken[number.get<std::size_t>()];
    if (!whole) {
      throw UsageError(fmt::format("{}: the number of token '{}' is {}; numbers must be 0 to {}, each once", source,
                                   text, number.dump(), texts.size() - 1));
    }
    texts[number.get<std::size_t>()] = text;
    taken[number.get<std::size_t>()] = true;
  }
  return texts;
}

/// The same for two writings of the same tokens and merges.
std::string checksum_of(const std::vector<std::string>& texts, const BytePairs& pairs) {
  Checksum checksum;
  // With the closing 0, so that where one token ends and the next begins counts as well.
  for (const std::string& text : texts) checksum.add(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
  for (const std::uint64_t pair : pairs.in_order()) {
    std::array<std::byte, 8> bytes;  // little-endian, whatever the machine
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(pair >> 8 * i);
    checksum.add(bytes);
  }
  return checksum.text();
}

class Gpt2Tokenizer : public Tokenizer {
 public:
  Gpt2Tokenizer(std::string vocabulary_json, const std::string& encoder_source, std::string merges_text,
                const std::string& merges_source) {
    const std::vector<std::string> texts = parse_encoder(vocabulary_json, encoder_source);
    TokenNumbers numbers;
    for (std::size_t i = 0; i < texts.size(); ++i) numbers.emplace(texts[i], static_cast<std::uint32_t>(i));
    const std::array<std::string, 256> symbols = byte_symbols();
    std::unordered_map<std::string_view, char> bytes;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      byte_tokens_[byte] = number_of(numbers, symbols[byte], fmt::format("{}: byte {}", encoder_source, byte));
      bytes.emplace(symbols[byte], static_cast<char>(byte));
    }
    pairs_ = BytePairs(merges_text, merges_source, numbers);
    for (const std::string& text : texts) decoded_.push_back(bytes_of(text, bytes));
    if (const auto found = numbers.find(kEndOfText); found != numbers.end()) end_of_text_ = found->second;
    record_ = {"gpt2", checksum_of(texts, pairs_), std::move(vocabulary_json), std::move(merges_text)};
  }

  const TokenizerRecord& record() const override { return record_; }
  std::int64_t vocabulary() const override { return static_cast<std::int64_t>(decoded_.size()); }
  std::optional<std::uint32_t> end_of_text() const override { return end_of_text_; }

  Tokens encode(std::string_view text) const override {
    Tokens tokens;
    tokens.reserve(text.size() / 3);
    splitter_.for_each_word(text, [&](std::string_view word) { append(word, tokens); });
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

  /// Short words repeat: what they become is kept, up to a million of them.
  void append(std::string_view word, Tokens& tokens) const {
    constexpr std::size_t most_words = 1'000'000, longest = 128;
    if (word.size() > longest) return append(merge(word), tokens);
    const std::string key(word);
    auto found = words_.find(key);
    if (found == words_.end()) {
      if (words_.size() >= most_words) words_.clear();
      found = words_.emplace(key, merge(word)).first;
    }
    append(found->second, tokens);
  }

  static void append(const Tokens& more, Tokens& tokens) { tokens.insert(tokens.end(), more.begin(), more.end()); }

  Tokens merge(std::string_view word) const {
    Tokens tokens;
    tokens.reserve(word.size());
    for (const char c : word) tokens.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
    return pairs_.merged(std::move(tokens));
  }

  WordSplitter splitter_;
  std::array<std::uint32_t, 256> byte_tokens_{};
  BytePairs pairs_;
  std::vector<std::string> decoded_;
  std::optional<std::uint32_t> end_of_text_;
  TokenizerRecord record_;
  mutable std::unordered_map<std::string, Tokens> words_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> make_gpt2_tokenizer(const fs::path& encoder, const fs::path& merges) {
  const std::string vocabulary_json = read_file(encoder), merges_text = read_file(merges);
  return std::make_unique<Gpt2Tokenizer>(vocabulary_json, encoder.string(), merges_text, merges.string());
}

}  // namespace lshdp::data
