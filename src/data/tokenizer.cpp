// Tokens of bytes and of GPT-2.
#include "lshdp/data/tokenizer.h"

#include "added_tokens.h"
#include "byte_level.h"
#include "checked_token.h"
#include "lshdp/core/file.h"
#include "split_pattern.h"
#include "word_splitter.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

class ByteTokenizer : public Tokenizer {
 public:
  const TokenizerRecord& record() const override { return record_; }
  std::int64_t vocabulary() const override { return 256; }
  std::optional<std::uint32_t> begin_of_text() const override { return std::nullopt; }
  std::optional<std::uint32_t> end_of_text() const override { return std::nullopt; }
  std::vector<std::string> special_tokens() const override { return {}; }
  Tokens encode(std::string_view text) const override {
    Tokens tokens;
    tokens.reserve(text.size());
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  Tokens encode_special(std::string_view text) const override { return encode(text); }
  std::string decode(std::span<const std::int64_t> tokens) const override {
    std::string text;
    for (const std::int64_t token : tokens) text += static_cast<char>(checked_token(token, 256));
    return text;
  }

 private:
  TokenizerRecord record_{"byte", "", "", ""};
};

class Gpt2Tokenizer : public Tokenizer {
 public:
  Gpt2Tokenizer(std::string vocabulary_json, const std::string& encoder_source, std::string merges_text,
                const std::string& merges_source)
      : words_(tokens_by_number(parse_json(vocabulary_json, encoder_source), encoder_source), encoder_source),
        splitter_(kGpt2SplitPattern, "GPT-2's split pattern") {
    words_.set_merges(parse_merges(merges_text, merges_source, words_.numbers()), /*whole_words=*/false);
    if (const auto found = words_.numbers().find(kEndOfText); found != words_.numbers().end()) {
      end_of_text_ = found->second;
      special_ = AddedTokens(std::vector<AddedToken>{{std::string(kEndOfText), found->second, /*special=*/true}});
    }
    Checksum checksum;
    words_.add_to(checksum);
    record_ = {"gpt2", checksum.text(), std::move(vocabulary_json), std::move(merges_text)};
  }

  const TokenizerRecord& record() const override { return record_; }
  std::int64_t vocabulary() const override { return static_cast<std::int64_t>(words_.size()); }
  std::optional<std::uint32_t> begin_of_text() const override { return std::nullopt; }
  std::optional<std::uint32_t> end_of_text() const override { return end_of_text_; }
  std::vector<std::string> special_tokens() const override {
    return end_of_text_ ? std::vector<std::string>{std::string(kEndOfText)} : std::vector<std::string>();
  }

  Tokens encode(std::string_view text) const override { return encoded(text, /*special=*/false); }
  Tokens encode_special(std::string_view text) const override { return encoded(text, /*special=*/true); }

  std::string decode(std::span<const std::int64_t> tokens) const override {
    std::string text;
    for (const std::int64_t token : tokens) text += words_.bytes_of(checked_token(token, vocabulary()));
    return text;
  }

 private:
  Tokens encoded(std::string_view text, bool special) const {
    Tokens tokens;
    tokens.reserve(text.size() / 3);
    special_.for_each_part(
        text, special,
        [&](std::string_view part) {
          splitter_.for_each_word(part, [&](std::string_view word) { words_.append(word, tokens); });
        },
        [&](std::uint32_t token) { tokens.push_back(token); });
    return tokens;
  }

  ByteLevel words_;
  WordSplitter splitter_;
  std::optional<std::uint32_t> end_of_text_;
  AddedTokens special_{std::vector<AddedToken>()};
  TokenizerRecord record_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> make_gpt2_tokenizer(const fs::path& encoder, const fs::path& merges) {
  const std::string vocabulary_json = read_file(encoder), merges_text = read_file(merges);
  return std::make_unique<Gpt2Tokenizer>(vocabulary_json, encoder.string(), merges_text, merges.string());
}

}  // namespace lshdp::data
