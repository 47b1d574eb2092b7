// Tokens as a tokenizer.json says: text is cut at added tokens, normalized, split into words, and bytes are merged.
#include "json_tokenizer.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "added_tokens.h"
#include "byte_level.h"
#include "character_level.h"
#include "checked_token.h"
#include "composer.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "tokenizer_file.h"
#include "word_splitter.h"

namespace lshdp::data {
namespace {

BytePairs merges_of(const Json& merges, const TokenNumbers& numbers, const std::string& source) {
  BytePairs pairs(MergeOrder::single);
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string where = fmt::format("{}: \"model.merges[{}]\"", source, i);
    const Json& merge = merges[i];
    if (json_is<std::string>(merge)) {
      const auto [left, right] = split_merge(merge.get_ref<const std::string&>(), where);
      pairs.add(left, right, numbers, where);
    } else if (json_is<std::vector<std::string>>(merge) && merge.size() == 2) {
      pairs.add(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(), numbers, where);
    } else {
      throw UsageError(fmt::format("{} must be two tokens", where));
    }
  }
  return pairs;
}

/// Numbers that the library would not give are refused: it would go by its own.
void require_numbers(const TokenizerFile& file, const WordTokens& words, const std::string& source) {
  auto next = static_cast<std::uint32_t>(words.size());
  std::map<std::string_view, std::size_t> places;
  for (std::size_t i = 0; i < file.added.size(); ++i) {
    const TokenizerFile::Added& token = file.added[i];
    const std::string where = fmt::format("{}: \"added_tokens[{}]\"", source, i);
    if (!places.emplace(token.text, i).second)
      throw UsageError(fmt::format("{}: '{}' is there twice", where, token.text));
    const auto found = words.numbers().find(token.text);
    const std::uint32_t number = found == words.numbers().end() ? next++ : found->second;
    if (token.number != number)
      throw UsageError(fmt::format("{}: the id of '{}' is {}, but {} is its place behind the others", where, token.text,
                                   token.number, number));
  }
}

std::unique_ptr<WordTokens> words_of(const TokenizerFile& file, const std::string& source) {
  const std::string place = source + ": \"model.vocab\"";
  std::vector<std::string> tokens = tokens_by_number(file.vocabulary, place);
  std::unique_ptr<WordTokens> words;
  if (file.byte_fallback)
    words = std::make_unique<CharacterLevel>(std::move(tokens), place);
  else
    words = std::make_unique<ByteLevel>(std::move(tokens), place);
  words->set_merges(merges_of(file.merges, words->numbers(), source), file.whole_words);
  return words;
}

/// `text` with kBlankMark for blanks, and one before it if asked for.
std::string with_marks(std::string_view text, bool before) {
  std::string marked(before ? kBlankMark : std::string_view());
  for (const char c : text) {
    if (c == ' ')
      marked += kBlankMark;
    else
      marked += c;
  }
  return marked;
}

class JsonTokenizer : public Tokenizer {
 public:
  JsonTokenizer(const TokenizerFile& file, const std::string& source, std::string text)
      : words_(words_of(file, source)),
        blank_first_(file.blank_first),
        marks_blanks_(file.byte_fallback),
        blank_before_(file.blank_before),
        splits_at_blanks_(file.splits_at_blanks),
        vocabulary_(static_cast<std::int64_t>(words_->size())) {
    require_numbers(file, *words_, source);
    if (file.composes) composer_.emplace();
    for (const std::string& pattern : file.split_patterns) splitters_.emplace_back(pattern, file.pattern_place);
    add_tokens(file.added);
    begin_ = number_of(file.begin, source);
    end_ = file.end ? number_of(file.end, source) : known_end();
    record_ = {"tokenizer.json", checksum_of(file), "", "", std::move(text)};
  }

  const TokenizerRecord& record() const override { return record_; }
  std::int64_t vocabulary() const override { return vocabulary_; }
  std::optional<std::uint32_t> begin_of_text() const override { return begin_; }
  std::optional<std::uint32_t> end_of_text() const override { return end_; }
  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> texts;
    for (const auto& [text, number] : special_) texts.push_back(text);
    return texts;
  }

  Tokens encode(std::string_view text) const override { return encoded(text, /*special=*/false, /*first=*/true); }
  Tokens encode_special(std::string_view text) const override {
    return encoded(text, /*special=*/true, /*first=*/true);
  }
  Tokens encode_behind(std::string_view text, bool special) const override {
    return encoded(text, special, /*first=*/false);
  }

  std::string decode(std::span<const std::int64_t> tokens) const override {
    std::string text;
    for (const std::int64_t token : tokens) {
      const std::size_t number = checked_token(token, vocabulary_);
      const auto found = added_texts_.find(static_cast<std::uint32_t>(number));
      text += found == added_texts_.end() ? words_->bytes_of(number) : found->second;
    }
    return text;
  }

 private:
  void add_tokens(const std::vector<TokenizerFile::Added>& added) {
    std::vector<AddedToken> as_they_are, normalized;
    for (const TokenizerFile::Added& token : added) {
      AddedToken found{token.text, token.number, token.special};
      if (token.normalized) found.text = normal_form(token.text);
      (token.normalized ? normalized : as_they_are).push_back(std::move(found));
      added_texts_.emplace(token.number, token.text);
      if (token.special) special_.emplace_back(token.text, token.number);
      vocabulary_ = std::max<std::int64_t>(vocabulary_, std::int64_t{token.number} + 1);
    }
    as_they_are_ = AddedTokens(std::move(as_they_are));
    normalized_ = AddedTokens(std::move(normalized));
  }

  std::optional<std::uint32_t> number_of(const std::optional<TokenizerFile::Framing>& framing,
                                         const std::string& source) const {
    if (!framing) return std::nullopt;
    const auto found = std::ranges::find(special_, framing->token, &std::pair<std::string, std::uint32_t>::first);
    if (found != special_.end() && found->second == framing->number) return framing->number;
    throw UsageError(
        fmt::format("{}: \"post_processor\" puts the token '{}' of id {} around texts, which is no special "
                    "one of \"added_tokens\"",
                    source, framing->token, framing->number));
  }

  std::optional<std::uint32_t> known_end() const {
    for (const std::string_view name : kEndsOfText) {
      const auto found = std::ranges::find(special_, name, &std::pair<std::string, std::uint32_t>::first);
      if (found != special_.end()) return found->second;
    }
    return std::nullopt;
  }

  /// Of all that decides over tokens.
  std::string checksum_of(const TokenizerFile& file) const {
    Json rest{{"composes", file.composes},
              {"split_patterns", file.split_patterns},
              {"blank_first", file.blank_first},
              {"whole_words", file.whole_words},
              {"begin", begin_ ? Json(*begin_) : Json()},
              {"end", end_ ? Json(*end_) : Json()},
              {"added", Json::array()}};
    if (marks_blanks_)
      rest.update({{"blank_before", static_cast<int>(blank_before_)}, {"splits_at_blanks", splits_at_blanks_}});
    for (const TokenizerFile::Added& token : file.added)
      rest["added"].push_back({token.text, token.number, token.special, token.normalized});
    const std::string text = json_text(rest);
    Checksum checksum;
    words_->add_to(checksum);
    checksum.add(std::as_bytes(std::span(text)));
    return checksum.text();
  }

  /// NFC, or blanks that are marked by a normalizer.
  std::string normal_form(std::string_view text) const {
    if (composer_) return (*composer_)(text);
    const bool marks = blank_before_ == TokenizerFile::BlankBefore::each_part;
    return marks ? with_marks(text, /*before=*/!text.empty()) : std::string(text);
  }

  /// `first`: nothing comes before the text.
  Tokens encoded(std::string_view text, bool special, bool first) const {
    Tokens tokens;
    tokens.reserve(text.size() / 3);
    const auto add = [&](std::uint32_t token) { tokens.push_back(token); };
    as_they_are_.for_each_part(
        text, special,
        [&](std::string_view part) {
          const std::string changed = normal_form(part);
          normalized_.for_each_part(
              changed, special,
              [&](std::string_view rest) {
                const bool begins = first && part.data() == text.data() && rest.data() == changed.data();
                append_text(rest, begins, tokens);
              },
              add);
        },
        add);
    return tokens;
  }

  void append_text(std::string_view text, bool begins, Tokens& tokens) const {
    if (marks_blanks_) return append_marked(text, begins, tokens);
    if (!blank_first_ || text.starts_with(' ')) return append_words(text, 0, tokens);
    append_words(" " + std::string(text), 0, tokens);
  }

  void append_marked(std::string_view text, bool begins, Tokens& tokens) const {
    using Before = TokenizerFile::BlankBefore;
    const bool wanted = blank_before_ == Before::always || (blank_before_ == Before::first && begins);
    const bool there = text.starts_with(' ') || text.starts_with(kBlankMark);
    const std::string marked = with_marks(text, wanted && !there);
    if (!splits_at_blanks_) return words_->append(marked, tokens);
    for (std::size_t at = 0; at < marked.size();) {
      const std::size_t end = std::min(marked.find(kBlankMark, at + 1), marked.size());
      words_->append(std::string_view(marked).substr(at, end - at), tokens);
      at = end;
    }
  }

  void append_words(std::string_view text, std::size_t splitter, Tokens& tokens) const {
    if (splitter == splitters_.size()) return words_->append(text, tokens);
    splitters_[splitter].for_each_word(text, [&](std::string_view word) { append_words(word, splitter + 1, tokens); });
  }

  std::unique_ptr<WordTokens> words_;
  std::optional<Composer> composer_;
  std::vector<WordSplitter> splitters_;  // each splits what the one before left
  bool blank_first_;
  bool marks_blanks_;  // as kBlankMark
  TokenizerFile::BlankBefore blank_before_;
  bool splits_at_blanks_;
  AddedTokens as_they_are_{std::vector<AddedToken>()}, normalized_{std::vector<AddedToken>()};
  std::unordered_map<std::uint32_t, std::string> added_texts_;
  std::vector<std::pair<std::string, std::uint32_t>> special_;
  std::int64_t vocabulary_;
  std::optional<std::uint32_t> begin_, end_;
  TokenizerRecord record_;
};

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer(std::string text, const std::string& source) {
  const TokenizerFile file = parse_tokenizer_file(parse_json(text, source), source);
  return std::make_unique<JsonTokenizer>(file, source, std::move(text));
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::filesystem::path& tokenizer_json) {
  return parse_tokenizer(read_file(tokenizer_json), tokenizer_json.string());
}

}  // namespace lshdp::data
