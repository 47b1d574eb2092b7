// The split pattern, with the classes of one version of Unicode.
#include "word_splitter.h"

#include <string>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::data {
namespace {

// White_Space of Unicode. PCRE2's \s also has U+180E, which Unicode took out in version 6.3.
constexpr const char* kSpaces =
    R"(\x{09}-\x{0D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// PCRE2 10.42 has Unicode 14; what came until 16 follows here. A newer PCRE2 has the same characters twice.
constexpr const char* kLetters =
    R"(\p{L}\x{1C89}-\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D4A}-\x{10D65}\x{10D6F}-\x{10D85})"
    R"(\x{10EC2}-\x{10EC4}\x{1123F}-\x{11240}\x{11380}-\x{11389}\x{1138B}\x{1138E}\x{11390}-\x{113B5}\x{113B7}\x{113D1})"
    R"(\x{113D3}\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{1342F}\x{13441}-\x{13446})"
    R"(\x{13460}-\x{143FA}\x{16100}-\x{1611D}\x{16D40}-\x{16D6C}\x{18CFF}\x{1B132}\x{1B155}\x{1DF25}-\x{1DF2A})"
    R"(\x{1E030}-\x{1E06D}\x{1E4D0}-\x{1E4EB}\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";
constexpr const char* kDigits =
    R"(\p{N}\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59}\x{16130}-\x{16139})"
    R"(\x{16D70}-\x{16D79}\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";

std::string split_pattern() {
  return fmt::format("'s|'t|'re|'ve|'m|'ll|'d| ?[{1}]+| ?[{2}]+| ?[^{0}{1}{2}]+|[{0}]+(?![^{0}])|[{0}]+", kSpaces,
                     kLetters, kDigits);
}

}  // namespace

WordSplitter::WordSplitter() {
  const std::string pattern = split_pattern();
  int error = 0;
  PCRE2_SIZE where = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &where, nullptr));
  if (!code_) throw RunError(fmt::format("PCRE2 refuses GPT-2's split pattern (error {})", error));
  // Without it, every match would check the whole rest of the text for UTF-8 first.
  if (pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) != 0) {
    throw RunError("the GPT-2 tokenizer needs PCRE2's just-in-time compiler, which is not available on this machine");
  }
  match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  if (!match_) throw RunError("cannot tokenize: not enough memory");
}

WordSplitter::Match WordSplitter::find(std::string_view text, std::size_t from) const {
  const int found =
      pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, 0, match_.get(), nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return {text.size(), text.size()};
  if (found < 0) throw RunError(fmt::format("PCRE2 failed to match (error {})", found));
  const PCRE2_SIZE* at = pcre2_get_ovector_pointer(match_.get());
  return {at[0], at[1]};
}

}  // namespace lshdp::data
