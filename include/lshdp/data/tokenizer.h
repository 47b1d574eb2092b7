// Text to tokens and back: bytes, GPT-2's byte-level byte-pair encoding, or what a tokenizer.json says.
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
  std::string name;      // "byte", "gpt2" or "tokenizer.json"; empty: not known (tokens made elsewhere)
  std::string checksum;  // of what its files mean, however they are written; empty for bytes
  std::string vocabulary_json,
      merges_text;                  // GPT-2's two files, so that data sets and runs can carry them; else empty
  std::string tokenizer_json = {};  // or the one file that says all; else empty
};

/// Const functions may be called from one thread at a time.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual const TokenizerRecord& record() const = 0;
  virtual std::int64_t vocabulary() const = 0;
  /// What looks like a special token is ordinary text. decode(encode(text)) is `text`, whatever bytes it holds, unless
  /// a tokenizer.json changes text first (NFC, or a blank before it).
  virtual std::vector<std::uint32_t> encode(std::string_view text) const = 0;
  /// As encode(), but what looks like a special token is that token.
  virtual std::vector<std::uint32_t> encode_special(std::string_view text) const = 0;
  /// The same of text that other tokens come before; `special`: as encode_special().
  virtual std::vector<std::uint32_t> encode_behind(std::string_view text, bool special) const {
    return special ? encode_special(text) : encode(text);
  }
  /// Special tokens, as text.
  virtual std::vector<std::string> special_tokens() const = 0;
  /// Throws UsageError if a token is not in [0, vocabulary()).
  virtual std::string decode(std::span<const std::int64_t> tokens) const = 0;
  /// The token that begins each document; none unless a tokenizer.json puts one there.
  virtual std::optional<std::uint32_t> begin_of_text() const = 0;
  /// The token that ends documents; none for bytes and for vocabularies without it. kEndOfText for GPT-2's files. For a
  /// tokenizer.json the special token that it puts behind each document, else the first of kEndsOfText that is one of
  /// its special tokens.
  virtual std::optional<std::uint32_t> end_of_text() const = 0;

  std::string name() const { return record().name; }
};

inline constexpr std::string_view kEndOfText = "<|endoftext|>";
/// Of Llama 3, of GPT-2 and Qwen, of others.
inline constexpr std::string_view kEndsOfText[] = {"<|end_of_text|>", kEndOfText, "</s>"};

/// Each byte is a token; vocabulary 256.
std::unique_ptr<Tokenizer> make_byte_tokenizer();

/// Byte-pair encoding as GPT-2 does it (Radford et al. 2019, section 2.2), given its two files: encoder.json (or
/// vocab.json) maps tokens to numbers, vocab.bpe (or merges.txt) lists merges, most frequent first. Bytes that are not
/// UTF-8 become tokens of their own. Throws UsageError: unreadable or malformed file, numbers that are not 0 .. n - 1,
/// a byte without a token, a merge of or into what is no token.
std::unique_ptr<Tokenizer> make_gpt2_tokenizer(const std::filesystem::path& encoder,
                                               const std::filesystem::path& merges);

/// What a tokenizer.json of the `tokenizers` library says, where it is a byte-pair encoding of bytes, as those of
/// GPT-2, Llama 3 and Qwen are, or of characters with bytes for those that it lacks, as Llama 2's and Mistral's: the
/// tokens are those that the library gives (docs/design.md, "Files"). Throws UsageError naming the key: malformed or
/// not supported.
std::unique_ptr<Tokenizer> make_tokenizer(const std::filesystem::path& tokenizer_json);

}  // namespace lshdp::data
