// The words of an override's value.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lshdp::explore {

struct Token {
  enum class Kind : std::uint8_t {
    open_call,
    close_call,
    comma,
    open_list,
    close_list,
    open_dictionary,
    close_dictionary,
    colon,
    equal,
    real,
    integer,
    boolean,
    null,
    symbol,  // one character that text without quotes may hold
    word,
    escaped,  // pairs of a backslash and what it takes the meaning from
    blank,
    quoted,
    interpolation,
    end
  };
  Kind kind = Kind::end;
  std::string_view text = {};
  std::size_t position = 0;  // of its first character in the override
};

/// Splits a value, the longest word first; the last token is `end`. `position` is that of the value in `override`,
/// which the UsageError of a character that begins no word names.
std::vector<Token> split_value(std::string_view override, std::size_t position);

}  // namespace lshdp::explore
