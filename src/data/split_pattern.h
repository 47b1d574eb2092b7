// The regular expressions by which tokenizers split text into words, as PCRE2 has to read them.
#pragma once
#include <string>
#include <string_view>

namespace lshdp::data {

/// GPT-2's, as its program has it.
inline constexpr std::string_view kGpt2SplitPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A pattern for PCRE2 that matches what `pattern` matches in the `tokenizers` library: letters and digits are those of
/// Unicode 16, white space is Unicode's White_Space, whatever PCRE2's own version. Takes literals, classes, groups,
/// lookahead, `(?i:` around literals, \p{L}, \p{N} and \s (and \P and \S outside of classes), and quantifiers. Throws
/// UsageError naming `source` at whatever else there is: the two libraries might read it differently.
std::string pcre2_pattern(std::string_view pattern, const std::string& source);

}  // namespace lshdp::data
