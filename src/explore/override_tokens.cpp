// Splits a value by Hydra's lexical rules.
#include "override_tokens.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::explore {
namespace {

using Kind = Token::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }

/// Each function gives the length of what it names at the beginning of `text`; 0 if it is not there.

std::size_t blanks(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::find_if_not(text, is_blank) - text.begin());
}

/// Digits, single underscores between them.
std::size_t digits(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() &&
         (is_digit(text[length]) || (length > 0 && text[length] == '_' && text[length - 1] != '_' &&
                                     length + 1 < text.size() && is_digit(text[length + 1]))))
    ++length;
  return length;
}

/// A whole number without a sign: 0 stands alone at its beginning.
std::size_t whole(std::string_view text) {
  const std::size_t length = digits(text);
  return length > 1 && text[0] == '0' ? 1 : length;
}

std::size_t sign(std::string_view text) { return !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0; }

std::size_t integer(std::string_view text) {
  const std::size_t start = sign(text), length = whole(text.substr(start));
  return length == 0 ? 0 : start + length;
}

bool equal_letters(std::string_view text, std::string_view word) {
  return text.size() >= word.size() && std::equal(word.begin(), word.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

std::size_t exponent(std::string_view text) {
  if (text.empty() || (text[0] != 'e' && text[0] != 'E')) return 0;
  const std::size_t start = 1 + sign(text.substr(1)), length = digits(text.substr(start));
  return length == 0 ? 0 : start + length;
}

/// "1.", ".5", "1.5", each with or without an exponent, "1e5", "inf", "nan".
std::size_t real(std::string_view text) {
  const std::size_t start = sign(text);
  const std::string_view number = text.substr(start);
  if (equal_letters(number, "inf") || equal_letters(number, "nan")) return start + 3;
  std::size_t length = whole(number);
  const bool point = length < number.size() && number[length] == '.';
  if (point) {
    const std::size_t fraction = digits(number.substr(length + 1));
    if (length == 0 && fraction == 0) return 0;
    length += 1 + fraction;
  }
  const std::size_t power = length == 0 ? 0 : exponent(number.substr(length));
  return point || power > 0 ? start + length + power : 0;
}

std::size_t boolean(std::string_view text) {
  return equal_letters(text, "true") ? 4 : equal_letters(text, "false") ? 5 : 0;
}

std::size_t null(std::string_view text) { return equal_letters(text, "null") ? 4 : 0; }

std::size_t symbol(std::string_view text) {
  return std::string_view("/-\\+.$%*@?|").find(text[0]) == std::string_view::npos ? 0 : 1;
}

std::size_t word(std::string_view text) {
  if (!is_letter(text[0])) return 0;
  const auto end = std::ranges::find_if_not(text, [](char c) { return is_letter(c) || is_digit(c) || c == '-'; });
  return static_cast<std::size_t>(end - text.begin());
}

std::size_t escaped(std::string_view text) {
  std::size_t length = 0;
  while (length + 1 < text.size() && text[length] == '\\' &&
         std::string_view("\\()[]{}:=, \t").find(text[length + 1]) != std::string_view::npos)
    length += 2;
  return length;
}

/// Up to the first closing quote with an even number of backslashes before it.
std::size_t quoted(std::string_view text) {
  if (text[0] != '\'' && text[0] != '"') return 0;
  std::size_t backslashes = 0;
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] == text[0] && backslashes % 2 == 0) return at + 1;
    backslashes = text[at] == '\\' ? backslashes + 1 : 0;
  }
  return 0;
}

std::size_t interpolation(std::string_view text) {
  const std::size_t end = text.starts_with("${") ? text.find('}') : std::string_view::npos;
  return end == std::string_view::npos || end == 2 ? 0 : end + 1;
}

/// A mark with the blanks that belong to it.
template <char mark, bool blanks_before, bool blanks_behind>
std::size_t marked(std::string_view text) {
  const std::size_t before = blanks_before ? blanks(text) : 0;
  if (before == text.size() || text[before] != mark) return 0;
  return before + 1 + (blanks_behind ? blanks(text.substr(before + 1)) : 0);
}

struct Rule {
  Kind kind;
  std::size_t (*length)(std::string_view text);
};

/// Of the longest words the first in this order counts.
constexpr std::array kRules{
    Rule{Kind::open_call, marked<'(', true, true>},
    Rule{Kind::comma, marked<',', true, true>},
    Rule{Kind::close_call, marked<')', true, false>},
    Rule{Kind::open_list, marked<'[', false, true>},
    Rule{Kind::close_list, marked<']', true, false>},
    Rule{Kind::open_dictionary, marked<'{', false, true>},
    Rule{Kind::close_dictionary, marked<'}', true, false>},
    Rule{Kind::colon, marked<':', true, true>},
    Rule{Kind::equal, marked<'=', true, true>},
    Rule{Kind::real, real},
    Rule{Kind::integer, integer},
    Rule{Kind::boolean, boolean},
    Rule{Kind::null, null},
    Rule{Kind::symbol, symbol},
    Rule{Kind::word, word},
    Rule{Kind::escaped, escaped},
    Rule{Kind::blank, blanks},
    Rule{Kind::quoted, quoted},
    Rule{Kind::interpolation, interpolation},
};

}  // namespace

std::vector<Token> split_value(std::string_view override, std::size_t position) {
  std::vector<Token> tokens;
  while (position < override.size()) {
    const std::string_view rest = override.substr(position);
    Token token{.position = position};
    for (const Rule& rule : kRules) {
      if (const std::size_t length = rule.length(rest); length > token.text.size()) {
        token.kind = rule.kind;
        token.text = rest.substr(0, length);
      }
    }
    if (token.text.empty())
      throw UsageError(fmt::format("override {}: character {} ({}) needs quotes: key='text'", printable(override),
                                   position + 1,
                                   printable(rest.substr(0, std::max<std::size_t>(1, utf8_character(rest))))));
    position += token.text.size();
    tokens.push_back(token);
  }
  tokens.push_back({.position = position});
  return tokens;
}

}  // namespace lshdp::explore
