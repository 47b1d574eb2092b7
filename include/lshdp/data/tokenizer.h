// Text to tokens and back: bytes, or GPT-2's byte-level byte-pair encoding.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lshdp::data {

/// What says which tokenizer made tokens. Tokens of two data sets mean the same only if name and checksum agree.
struct TokenizerRecord {
  std::string name;      // "byte" or "gpt2"; empty: not known (tokens made elsewhere)
  std::string checksum;  // of vocabulary and merges, however their files are written; empty for bytes
  std::string vocabulary_json,
      merges_text;  // the two files, so that data sets and runs can carry them; empty for bytes
};

/// decode(encode(text)) is `text`, whatever bytes it holds. Const functions may be called from one thread at a time.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual const TokenizerRecord& record() const = 0;
  virtual std::int64_t vocabulary() const = 0;
  /// What looks like a special token is ordinary text.
  virtual std::vector<std::uint32_t> encode(std::string_view text) const = 0;
  /// Throws UsageError if a token is not in [0, vocabulary()).
  virtual std::string decode(std::span<const std::int64_t> tokens) const = 0;
  /// The token that ends documents, kEndOfText; none for bytes and for vocabularies without it.
  virtual std::optional<std::uint32_t> end_of_text() const = 0;

  std::string name() const { return record().name; }
};

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

/// Each byte is a token; vocabulary 256.
std::unique_ptr<Tokenizer> make_byte_tokenizer();

/// Byte-pair encoding as GPT-2 does it (Radford et al. 2019, section 2.2), given its two files: encoder.json (or
/// vocab.json) maps tokens to numbers, vocab.bpe (or merges.txt) lists merges, most frequent first. Bytes that are not
/// UTF-8 become tokens of their own. Throws UsageError: unreadable or malformed file, numbers that are not 0 .. n - 1,
/// a byte without a token, a merge of or into what is no token.
std::unique_ptr<Tokenizer> make_gpt2_tokenizer(const std::filesystem::path& encoder,
                                               const std::filesystem::path& merges);

}  // namespace lshdp::data
