// Key by key: what is not known is refused, because the tokens would silently be others.
#include "tokenizer_file.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "character_level.h"
#include "lshdp/core/error.h"
#include "split_pattern.h"

namespace lshdp::data {
namespace {

/// A part of the file and what to call it.
struct Part {
  const Json& value;
  std::string place;  // "FILE: \"model" without its closing quote; only "FILE: \"" for the whole

  bool is_null() const { return value.is_null(); }
};

std::string named(const Part& part) { return part.place + "\""; }

[[noreturn]] void refuse(const Part& part, std::string_view problem) {
  throw UsageError(fmt::format("{} {}", named(part), problem));
}

void require_object(const Part& part) {
  if (!part.value.is_object()) refuse(part, "must be an object");
}

/// The value of a key; null where it is missing.
Part member(const Part& part, std::string_view key) {
  static const Json null;
  const auto found = part.value.find(key);
  return {found == part.value.end() ? null : *found,
          fmt::format("{}{}{}", part.place, part.place.ends_with('"') ? "" : ".", key)};
}

Part element(const Part& part, std::size_t index) {
  return {part.value[index], fmt::format("{}[{}]", part.place, index)};
}

template <typename T>
T value_of(const Part& part) {
  if (part.is_null()) refuse(part, "is missing");
  if (!json_is<T>(part.value)) refuse(part, "must be " + json_kind<T>());
  return part.value.get<T>();
}

template <typename T>
T value_or(const Part& part, T otherwise) {
  return part.is_null() ? otherwise : value_of<T>(part);
}

const Json& list_of(const Part& part) {
  if (part.is_null()) refuse(part, "is missing");
  if (!part.value.is_array()) refuse(part, "must be a list");
  return part.value;
}

/// Throws unless every key of the object is one of `known`, or null.
void require_known(const Part& part, std::initializer_list<std::string_view> known) {
  require_object(part);
  for (const auto& [key, value] : part.value.items()) {
    if (!value.is_null() && std::find(known.begin(), known.end(), key) == known.end())
      refuse(member(part, key), "is not supported");
  }
}

std::string type_of(const Part& part) {
  require_object(part);
  return value_of<std::string>(member(part, "type"));
}

[[noreturn]] void refuse_type(const Part& part, std::string_view supported) {
  refuse(part, fmt::format("is of type '{}', which is not supported; {}", type_of(part), supported));
}

/// The parts of a Sequence under `key`, or the part itself; none if it is null.
std::vector<Part> in_sequence(const Part& part, std::string_view key) {
  if (part.is_null()) return {};
  if (type_of(part) != "Sequence") return {part};
  require_known(part, {"type", key});
  const Part list = member(part, key);
  std::vector<Part> parts;
  for (std::size_t i = 0; i < list_of(list).size(); ++i) parts.push_back(element(list, i));
  return parts;
}

void require_empty(const Part& part) {
  if (!part.is_null() && part.value != Json("")) refuse(part, "is not supported");
}

/// Unknown bytes never come up, because every byte is a token: unk_token and fuse_unk change nothing.
void read_model(const Part& model, TokenizerFile& result) {
  require_known(model, {"type", "vocab", "merges", "ignore_merges", "dropout", "continuing_subword_prefix",
                        "end_of_word_suffix", "unk_token", "fuse_unk", "byte_fallback"});
  if (value_or<std::string>(member(model, "type"), "BPE") != "BPE") refuse_type(model, "BPE is");
  if (value_or<double>(member(model, "dropout"), 0) != 0) refuse(member(model, "dropout"), "is not supported");
  require_empty(member(model, "continuing_subword_prefix"));
  require_empty(member(model, "end_of_word_suffix"));
  result.byte_fallback = value_or<bool>(member(model, "byte_fallback"), false);
  result.whole_words = value_or<bool>(member(model, "ignore_merges"), false);
  if (result.byte_fallback && result.whole_words)
    refuse(member(model, "ignore_merges"), "is not supported with byte_fallback");
  const Part vocabulary = member(model, "vocab");
  if (vocabulary.is_null()) refuse(vocabulary, "is missing");
  result.vocabulary = vocabulary.value;
  result.merges = list_of(member(model, "merges"));
}

bool is_blank_mark(const Part& part) { return value_of<std::string>(part) == kBlankMark; }

/// Blanks that are written as a character of their own, one of them before the text.
void read_blank_marks(const Part& normalizer, TokenizerFile& result) {
  bool replaces = false;
  for (const Part& part : in_sequence(normalizer, "normalizers")) {
    const std::string type = type_of(part);
    if (type == "Prepend" && !replaces) {
      require_known(part, {"type", "prepend"});
      if (!is_blank_mark(member(part, "prepend")))
        refuse(member(part, "prepend"), "is not supported unless it is '\u2581'");
      result.blank_before = TokenizerFile::BlankBefore::each_part;
    } else if (type == "Replace" && !replaces) {
      require_known(part, {"type", "pattern", "content"});
      const Part pattern = member(member(part, "pattern"), "String");
      if (value_of<std::string>(pattern) != " " || !is_blank_mark(member(part, "content")))
        refuse(part, "is not supported unless it makes '\u2581' of blanks");
      replaces = true;
    } else {
      refuse_type(part, "with byte_fallback, Prepend and then Replace are");
    }
  }
  if (!replaces) refuse(normalizer, "is not supported without a Replace that makes '\u2581' of blanks");
}

void read_normalizer(const Part& normalizer, TokenizerFile& result) {
  if (normalizer.is_null()) return;
  if (result.byte_fallback) return read_blank_marks(normalizer, result);
  if (type_of(normalizer) != "NFC") refuse_type(normalizer, "NFC is");
  require_known(normalizer, {"type"});
  result.composes = true;
}

std::string split_pattern_of(const Part& split) {
  require_known(split, {"type", "pattern", "behavior", "invert"});
  const Part behavior = member(split, "behavior"), invert = member(split, "invert"), pattern = member(split, "pattern");
  if (value_of<std::string>(behavior) != "Isolated") refuse(behavior, "is not supported unless it is 'Isolated'");
  if (value_or<bool>(invert, false)) refuse(invert, "is not supported");
  require_known(pattern, {"Regex"});
  return value_of<std::string>(member(pattern, "Regex"));
}

/// trim_offsets is about places in the text, not about tokens.
void read_byte_level(const Part& level, TokenizerFile& result) {
  require_known(level, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  const Part blank = member(level, "add_prefix_space");
  result.blank_first = value_of<bool>(blank);
  if (result.blank_first && !result.split_patterns.empty()) refuse(blank, "is not supported behind a Split");
  if (value_or<bool>(member(level, "use_regex"), true)) result.split_patterns.emplace_back(kGpt2SplitPattern);
}

/// Does what a normalizer does in older files.
void read_metaspace(const Part& metaspace, bool normalized, TokenizerFile& result) {
  if (type_of(metaspace) != "Metaspace") refuse_type(metaspace, "with byte_fallback, Metaspace is");
  if (normalized) refuse(metaspace, "is not supported beside a normalizer");
  require_known(metaspace, {"type", "replacement", "prepend_scheme", "split"});
  if (!is_blank_mark(member(metaspace, "replacement")))
    refuse(member(metaspace, "replacement"), "is not supported unless it is '\u2581'");
  const Part scheme = member(metaspace, "prepend_scheme");
  const std::string name = value_or<std::string>(scheme, "always");
  if (name != "always" && name != "first" && name != "never") refuse(scheme, "must be always, first or never");
  using Before = TokenizerFile::BlankBefore;
  result.blank_before = name == "always" ? Before::always : name == "first" ? Before::first : Before::never;
  result.splits_at_blanks = value_or<bool>(member(metaspace, "split"), true);
}

void read_pre_tokenizer(const Part& pre_tokenizer, bool normalized, TokenizerFile& result) {
  result.pattern_place = named(pre_tokenizer);
  if (result.byte_fallback) {
    if (!pre_tokenizer.is_null()) return read_metaspace(pre_tokenizer, normalized, result);
    if (!normalized) refuse(pre_tokenizer, "is missing, and a normalizer that makes '\u2581' of blanks as well");
    return;
  }
  const std::vector<Part> parts = in_sequence(pre_tokenizer, "pretokenizers");
  if (parts.empty() || type_of(parts.back()) != "ByteLevel")
    refuse(pre_tokenizer, "is not supported unless it is, or ends with, a ByteLevel");
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    if (type_of(parts[i]) != "Split") refuse_type(parts[i], "Split and, at the end, ByteLevel are");
    result.split_patterns.push_back(split_pattern_of(parts[i]));
  }
  read_byte_level(parts.back(), result);
}

TokenizerFile::Framing framing_of(const Part& special, const Part& known) {
  const std::string name = value_of<std::string>(member(special, "id"));
  require_object(known);
  const Part ids = member(member(known, name), "ids");
  if (list_of(ids).size() != 1) refuse(ids, "must be one number");
  return {name, value_of<std::uint32_t>(element(ids, 0))};
}

/// One token before the text and one after it, at most.
void read_template(const Part& processor, TokenizerFile& result) {
  require_known(processor, {"type", "single", "pair", "special_tokens"});
  const Part single = member(processor, "single");
  bool text = false;
  for (std::size_t i = 0; i < list_of(single).size(); ++i) {
    const Part piece = element(single, i);
    require_known(piece, {"SpecialToken", "Sequence"});
    const Part special = member(piece, "SpecialToken");
    std::optional<TokenizerFile::Framing>& place = text ? result.end : result.begin;
    if (special.is_null() ? text : place.has_value()) refuse(piece, "is one too many: not supported");
    if (special.is_null()) {
      require_object(member(piece, "Sequence"));
      text = true;
    } else {
      require_object(special);
      place = framing_of(special, member(processor, "special_tokens"));
    }
  }
  if (!text) refuse(single, "holds no text");
}

void read_post_processor(const Part& post_processor, TokenizerFile& result) {
  bool found = false;
  for (const Part& part : in_sequence(post_processor, "processors")) {
    if (type_of(part) == "ByteLevel") continue;  // about places in the text
    if (type_of(part) != "TemplateProcessing") refuse_type(part, "TemplateProcessing and ByteLevel are");
    if (std::exchange(found, true)) refuse(part, "is a second TemplateProcessing: not supported");
    read_template(part, result);
  }
}

void read_added_tokens(const Part& list, TokenizerFile& result) {
  if (list.is_null()) return;
  for (std::size_t i = 0; i < list_of(list).size(); ++i) {
    const Part token = element(list, i);
    require_known(token, {"id", "content", "special", "normalized", "lstrip", "rstrip", "single_word"});
    for (const char* key : {"lstrip", "rstrip", "single_word"}) {
      if (value_or<bool>(member(token, key), false)) refuse(member(token, key), "is not supported");
    }
    TokenizerFile::Added added{value_of<std::string>(member(token, "content")),
                               value_of<std::uint32_t>(member(token, "id")), value_of<bool>(member(token, "special")),
                               value_of<bool>(member(token, "normalized"))};
    if (added.text.empty()) refuse(member(token, "content"), "is empty");
    result.added.push_back(std::move(added));
  }
}

void read_decoder(const Part& decoder, bool byte_fallback) {
  if (decoder.is_null()) refuse(decoder, "is missing");
  if (byte_fallback) {
    for (const Part& part : in_sequence(decoder, "decoders")) {
      const std::string type = type_of(part);
      if (type != "Replace" && type != "ByteFallback" && type != "Fuse" && type != "Strip" && type != "Metaspace")
        refuse_type(part, "with byte_fallback, Replace, ByteFallback, Fuse, Strip and Metaspace are");
    }
    return;
  }
  if (type_of(decoder) != "ByteLevel") refuse_type(decoder, "ByteLevel is");
}

}  // namespace

TokenizerFile parse_tokenizer_file(const Json& file, const std::string& source) {
  const Part whole{file, source + ": \""};
  if (!file.is_object()) throw UsageError(fmt::format("{}: must be an object", source));
  // "truncation" and "padding" would leave tokens out or add some.
  require_known(whole,
                {"version", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"});
  if (value_or<std::string>(member(whole, "version"), "1.0") != "1.0")
    refuse(member(whole, "version"), "is not supported; 1.0 is");
  TokenizerFile result;
  if (member(whole, "model").is_null()) refuse(member(whole, "model"), "is missing");
  read_model(member(whole, "model"), result);
  read_normalizer(member(whole, "normalizer"), result);
  read_pre_tokenizer(member(whole, "pre_tokenizer"), !member(whole, "normalizer").is_null(), result);
  read_post_processor(member(whole, "post_processor"), result);
  read_decoder(member(whole, "decoder"), result.byte_fallback);
  read_added_tokens(member(whole, "added_tokens"), result);
  return result;
}

}  // namespace lshdp::data
