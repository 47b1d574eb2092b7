// Matches of the split pattern, by PCRE2.
#include "word_splitter.h"

#include <array>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "split_pattern.h"

namespace lshdp::data {
namespace {

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

WordSplitter::WordSplitter(std::string_view pattern, const std::string& source) {
  const std::string translated = pcre2_pattern(pattern, source);
  int error = 0;
  PCRE2_SIZE where = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &where, nullptr));
  if (!code_) throw UsageError(fmt::format("{}: no regular expression: {}", source, message_of(error)));
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) throw UsageError(fmt::format("{}: matches where there is no text", source));
  // Without it, every match would check the whole rest of the text for UTF-8 first.
  if (pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) != 0) {
    throw RunError("byte-pair tokenizers need PCRE2's just-in-time compiler, which is not available on this machine");
  }
  match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  if (!match_) throw RunError("cannot tokenize: not enough memory");
}

WordSplitter::Match WordSplitter::find(std::string_view text, std::size_t from) const {
  const int found =
      pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, 0, match_.get(), nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return {text.size(), text.size()};
  if (found < 0) throw RunError(fmt::format("PCRE2 failed to split the text: {}", message_of(found)));
  const PCRE2_SIZE* at = pcre2_get_ovector_pointer(match_.get());
  return {at[0], at[1]};
}

}  // namespace lshdp::data
