// Reads a pattern piece by piece, and writes each with the classes of one version of Unicode.
#include "split_pattern.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "utf8.h"

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

struct NamedClass {
  std::string_view name, opposite;
  const char* members;
};
constexpr std::array<NamedClass, 3> kClasses{
    {{R"(\s)", R"(\S)", kSpaces}, {R"(\p{L})", R"(\P{L})", kLetters}, {R"(\p{N})", R"(\P{N})", kDigits}}};

constexpr std::string_view kSyntax = R"(\[](){}|?*+.^$)";  // characters that mean something by themselves

bool is_letter(std::uint32_t code) { return (code | 0x20) >= 'a' && (code | 0x20) <= 'z'; }
bool is_digit(std::uint32_t code) { return code >= '0' && code <= '9'; }

std::string literal(std::uint32_t code) { return fmt::format("\\x{{{:X}}}", code); }

class Reader {
 public:
  Reader(std::string_view pattern, const std::string& source) : pattern_(pattern), source_(source) {}

  std::string pcre2() {
    while (at_ < pattern_.size()) read_piece();
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw UsageError(fmt::format("{}: {} (at byte {} of the pattern) is not supported", source_, what, begin_));
  }
  bool is_next(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!is_next(text)) return false;
    at_ += text.size();
    return true;
  }
  bool without_case() const { return std::find(groups_.begin(), groups_.end(), true) != groups_.end(); }

  void read_piece() {
    begin_ = at_;
    const char c = pattern_[at_];
    const std::uint32_t before = std::exchange(literal_before_, 0);
    if (c == '[') return read_class();
    if (c == '(') return open_group();
    if (c == ')') return close_group();
    if (c == '{') return read_count();
    if (c == '|' || c == '?' || c == '*' || c == '+') {
      result_ += c;
      ++at_;
    } else if (c == '\\' && read_escaped_class(/*in_class=*/false)) {
      return;
    } else {
      add_literal(read_literal(), before);
    }
  }

  /// Without case, one letter may stand for two: U+FB06 for "st", for example. Not all libraries say so.
  void add_literal(std::uint32_t code, std::uint32_t before) {
    if (without_case()) {
      constexpr std::array<std::string_view, 5> joined{"ff", "fi", "fl", "ss", "st"};
      const std::string pair{static_cast<char>(before | 0x20), static_cast<char>(code | 0x20)};
      const bool may_join = is_letter(before) && is_letter(code) && std::ranges::find(joined, pair) != joined.end();
      if (code >= 0x80 || may_join) refuse("'(?i:' with this character in it");
    }
    result_ += literal(code);
    literal_before_ = code;
  }

  void open_group() {
    ++at_;
    const std::size_t from = at_;
    const bool caseless = take("?i:");
    if (!caseless && !take("?:") && !take("?=") && !take("?!") && is_next("?")) refuse("this kind of group");
    groups_.push_back(caseless);
    const std::string_view kind = pattern_.substr(from, at_ - from);
    result_ += "(";
    result_ += kind.empty() ? "?:" : kind;
  }

  void close_group() {
    ++at_;
    if (groups_.empty()) refuse("')' without '('");
    groups_.pop_back();
    result_ += ')';
  }

  /// {n}, {n,} or {n,m}. What stands behind makes it lazy, possessive or neither, by the library.
  void read_count() {
    std::string count = "{";
    ++at_;
    const auto digits = [&] {
      const std::size_t from = at_;
      while (at_ < pattern_.size() && is_digit(static_cast<unsigned char>(pattern_[at_]))) count += pattern_[at_++];
      return at_ > from;
    };
    bool fits = digits();
    if (fits && take(",")) {
      count += ',';
      digits();
    }
    fits = fits && take("}");
    if (!fits || is_next("?") || is_next("*") || is_next("+") || is_next("{")) refuse("this use of '{'");
    result_ += count + '}';
  }

  /// Writes \s, \p{L} and \p{N}, and outside of classes their opposites; false if something else stands there.
  bool read_escaped_class(bool in_class) {
    const std::size_t from = at_;
    const char* members = nullptr;
    bool opposite = false;
    for (const NamedClass& each : kClasses) {
      opposite = take(each.opposite);
      if (!opposite && !take(each.name)) continue;
      members = each.members;
      break;
    }
    if (members == nullptr) return false;
    if (without_case() || (in_class && opposite))
      refuse(fmt::format("'{}' in '{}'", pattern_.substr(from, at_ - from), in_class ? "[..]" : "(?i:"));
    result_ += in_class ? members : fmt::format("[{}{}]", opposite ? "^" : "", members);
    return true;
  }

  /// One character, plain or behind a backslash.
  std::uint32_t read_literal() {
    if (!take("\\")) {
      if (kSyntax.find(pattern_[at_]) != std::string_view::npos) refuse(fmt::format("'{}'", pattern_[at_]));
      return read_code();
    }
    constexpr std::string_view names = "rntfv", controls = "\r\n\t\f\v";
    if (at_ == pattern_.size()) refuse("a backslash at the end");
    const auto next = static_cast<unsigned char>(pattern_[at_]);
    if (const std::size_t found = names.find(pattern_[at_]); found != std::string_view::npos) {
      ++at_;
      return static_cast<std::uint32_t>(controls[found]);
    }
    if (next >= 0x80 || is_letter(next) || is_digit(next))
      refuse(next < 0x80 ? fmt::format("'\\{}'", pattern_[at_]) : "this escape");
    ++at_;
    return next;
  }

  std::uint32_t read_code() {
    const Utf8Character character = utf8_character(pattern_, at_);
    if (!character.valid) refuse("what is not UTF-8");
    at_ += character.size;
    return character.code;
  }

  void read_class() {
    ++at_;
    result_ += '[';
    if (take("^")) {
      if (without_case()) refuse("'[^' in '(?i:'");
      result_ += '^';
    }
    if (is_next("]")) refuse("an empty '[]'");
    while (!take("]")) {
      if (at_ == pattern_.size()) refuse("'[' without ']'");
      if (is_next("&&")) refuse("'&&' in '[..]'");
      read_member();
    }
    result_ += ']';
  }

  void read_member() {
    const bool first = result_.ends_with('[') || result_.ends_with("[^");
    if (is_next("\\") && read_escaped_class(/*in_class=*/true)) {
      if (is_next("-") && !is_next("-]")) refuse("a range from more than a character");
      return;
    }
    if (is_next("-") && !first && !is_next("-]")) refuse("this use of '-' in '[..]'");
    const std::uint32_t low = read_member_code();
    result_ += literal(low);
    if (!is_next("-") || is_next("-]")) return;
    ++at_;
    const std::uint32_t high = read_member_code();
    if (high < low) refuse("a range that ends before it begins");
    result_ += "-" + literal(high);
  }

  /// Inside of classes, most characters stand for themselves.
  std::uint32_t read_member_code() {
    if (at_ == pattern_.size()) refuse("'[' without ']'");
    if (is_next("[")) refuse("'[' in '[..]'");
    const std::uint32_t code = is_next("\\") ? read_literal() : read_code();
    if (without_case() && code >= 0x80) refuse("'(?i:' with this character in it");
    return code;
  }

  std::string_view pattern_;
  const std::string& source_;
  std::size_t at_ = 0, begin_ = 0;  // begin_: of the piece that is read
  std::uint32_t literal_before_ = 0;
  std::vector<bool> groups_;  // those that are open; true: without case
  std::string result_;
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern, const std::string& source) {
  return Reader(pattern, source).pcre2();
}

}  // namespace lshdp::data
