// Sizes with units, lists with commas, and numbers for people.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lshdp {

/// Bytes from "512", "64KiB", "2GiB", "1.5GB" (KiB = 1024, KB = 1000; case and a blank before the unit do not matter).
/// Throws UsageError naming `what` if the text is no size, is negative or does not fit in 63 bits.
std::int64_t parse_size(std::string_view text, std::string_view what);

/// "1.50 GiB": three significant digits, the largest binary unit that keeps the figure at least 1.
std::string format_size(std::int64_t bytes);

/// "1.25 s", "3.4 ms", "12 us".
std::string format_seconds(double seconds);

/// 1234567 -> "1,234,567".
std::string format_count(std::int64_t count);

/// `text` in one line of valid UTF-8, for messages: control characters and bytes that are not UTF-8 become \n, \t or
/// \xNN.
std::string printable(std::string_view text);

/// The bytes at the beginning of `text` that are one character of UTF-8; 0 if none is there.
std::size_t utf8_character(std::string_view text);

/// Whole text as one number; throw UsageError naming `what` otherwise (empty, trailing characters, out of range, not
/// finite).
std::int64_t parse_int(std::string_view text, std::string_view what);
double parse_double(std::string_view text, std::string_view what);

/// The parts between commas, blanks trimmed. Throws UsageError naming `what` on an empty part.
std::vector<std::string> split_list(std::string_view text, std::string_view what);
std::vector<std::int64_t> parse_int_list(std::string_view text, std::string_view what);
std::vector<double> parse_double_list(std::string_view text, std::string_view what);
std::vector<std::int64_t> parse_size_list(std::string_view text, std::string_view what);

/// The entry of `values` for `rank`: one value serves all ranks, otherwise there must be `ranks` of them.
/// Throws UsageError naming `what` if the number of values is neither 1 nor `ranks`.
template <typename T>
const T& value_of_rank(const std::vector<T>& values, int rank, int ranks, std::string_view what);

/// `text` with U+FFFD for each byte that is no part of UTF-8: names of files and hosts are bytes.
std::string valid_utf8(std::string_view text);

/// "; did you mean 'steps'?" with the word of `known` that is nearest to `word`, or nothing if none is near. `prefix`
/// ("--") stands before the word.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known, std::string_view prefix = "");

/// A table with a header row, columns padded, numbers to the right: what commands print on stdout.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string to_string() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

[[noreturn]] void throw_wrong_list_length(std::size_t got, int ranks, std::string_view what);

template <typename T>
const T& value_of_rank(const std::vector<T>& values, int rank, int ranks, std::string_view what) {
  if (values.size() == 1) return values.front();
  if (values.size() != static_cast<std::size_t>(ranks)) throw_wrong_list_length(values.size(), ranks, what);
  return values[static_cast<std::size_t>(rank)];
}

}  // namespace lshdp
