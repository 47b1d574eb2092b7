// Parsing and printing of sizes, lists, numbers and tables.
#include "lshdp/core/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// Bytes of a unit, 0 if there is no such unit.
double unit_bytes(std::string_view unit) {
  const std::string name = lower(unit);
  constexpr std::string_view prefixes = "kmgt";
  if (name.empty() || name == "b") return 1;
  const auto power = prefixes.find(name[0]);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = std::string_view(name).substr(1);
  if (rest == "ib") return std::pow(1024.0, static_cast<double>(power + 1));
  if (rest == "b") return std::pow(1000.0, static_cast<double>(power + 1));
  return 0;
}

template <typename T, typename Parse>
std::vector<T> parse_each(std::string_view text, std::string_view what, Parse parse) {
  std::vector<T> values;
  for (const std::string& part : split_list(text, what)) values.push_back(parse(part, what));
  return values;
}

/// Bytes of the UTF-8 character that `text` begins with; 0 if it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
  }
  const unsigned second = byte(1);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second >= 0xa0, beyond = lead == 0xf4 && second >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

/// Letters to insert, delete, replace or swap with their neighbour to make one of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

bool is_number(std::string_view cell) {
  return !cell.empty() && (std::isdigit(static_cast<unsigned char>(cell.front())) || cell.front() == '-' ||
                           cell.front() == '+' || cell.front() == '.');
}

std::string escaped(unsigned char byte) {
  if (byte == '\n') return "\\n";
  if (byte == '\t') return "\\t";
  return fmt::format("\\x{:02x}", byte);
}

/// How many bytes a character has that begins with `first`; 0 if none does.
std::size_t utf8_length(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return 2;
  if (first >= 0xe0 && first < 0xf0) return 3;
  return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

}  // namespace

std::size_t utf8_character(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = utf8_length(byte(0));
  if (length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
  const bool no_character = (byte(0) == 0xed && byte(1) > 0x9f) || (byte(0) == 0xf4 && byte(1) > 0x8f);
  return overlong || no_character ? 0 : length;
}

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text.front());
    const std::size_t length = first < 0x20 || first == 0x7f ? 0 : utf8_character(text);
    result += length == 0 ? escaped(first) : std::string(text.substr(0, length));
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return result;
}

std::int64_t parse_size(std::string_view text, std::string_view what) {
  const std::string_view trimmed = trim(text);
  const std::size_t digits = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const double unit = unit_bytes(trim(trimmed.substr(digits)));
  if (digits == 0 || unit == 0) {
    throw UsageError(fmt::format("{}: '{}' is not a size; write for example 512MiB or 2GiB", what, text));
  }
  const double bytes = parse_double(trimmed.substr(0, digits), what) * unit;
  if (bytes >= static_cast<double>(std::numeric_limits<std::int64_t>::max())) {
    throw UsageError(fmt::format("{}: '{}' is too large", what, text));
  }
  return static_cast<std::int64_t>(bytes);
}

std::string format_size(std::int64_t bytes) {
  constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : value < 100 ? 1 : 0, units[unit]);
}

std::string format_seconds(double seconds) {
  const double size = std::abs(seconds);
  if (size == 0) return "0 s";
  if (size < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (size < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return size < 100 ? fmt::format("{:.3g} s", seconds) : fmt::format("{:.0f} s", seconds);
}

std::string format_count(std::int64_t count) {
  std::string digits = std::to_string(count);
  for (std::int64_t at = static_cast<std::int64_t>(digits.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::int64_t parse_int(std::string_view text, std::string_view what) {
  const std::string_view trimmed = trim(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  const bool whole = end == trimmed.data() + trimmed.size();
  if (whole && error == std::errc::result_out_of_range)
    throw UsageError(fmt::format("{}: '{}' is too large or too small for a whole number of 64 bits", what, text));
  if (!whole || error != std::errc{}) throw UsageError(fmt::format("{}: '{}' is not a whole number", what, text));
  return value;
}

double parse_double(std::string_view text, std::string_view what) {
  const std::string_view trimmed = trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  const bool whole = end == trimmed.data() + trimmed.size();
  if (whole && error == std::errc::result_out_of_range)
    throw UsageError(fmt::format("{}: '{}' is too large or too small for a number of double precision", what, text));
  if (!whole || error != std::errc{}) throw UsageError(fmt::format("{}: '{}' is not a number", what, text));
  if (!std::isfinite(value)) throw UsageError(fmt::format("{}: '{}' must be a finite number", what, text));
  return value;
}

std::vector<std::string> split_list(std::string_view text, std::string_view what) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = trim(text.substr(0, comma));
    if (part.empty()) throw UsageError(fmt::format("{}: an entry of the list is empty", what));
    parts.emplace_back(part);
    if (comma == text.size()) return parts;
    text.remove_prefix(comma + 1);
  }
}

std::vector<std::int64_t> parse_int_list(std::string_view text, std::string_view what) {
  return parse_each<std::int64_t>(text, what, parse_int);
}

std::vector<double> parse_double_list(std::string_view text, std::string_view what) {
  return parse_each<double>(text, what, parse_double);
}

std::vector<std::int64_t> parse_size_list(std::string_view text, std::string_view what) {
  return parse_each<std::int64_t>(text, what, parse_size);
}

std::string valid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    result += length == 0 ? std::string_view("\uFFFD") : text.substr(0, length);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return result;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known, std::string_view prefix) {
  const std::string written = lower(word).substr(0, 64);
  // Two letters in five may be wrong: otherwise it is another word.
  std::size_t least = written.size() * 2 / 5 + 1;
  const std::string* nearest = nullptr;
  for (const std::string& candidate : known) {
    const std::size_t far = distance(written, lower(candidate));
    if (far < least) {
      least = far;
      nearest = &candidate;
    }
  }
  return nearest == nullptr ? "" : fmt::format("; did you mean {}{}?", prefix, *nearest);
}

std::string Table::to_string() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      // A header stands over its column: it follows the alignment of the first row below it.
      const auto& aligned_as = rows_.size() > 1 && &row == &rows_.front() && i < rows_[1].size() ? rows_[1][i] : row[i];
      line +=
          is_number(aligned_as) ? fmt::format("{:>{}}", row[i], widths[i]) : fmt::format("{:<{}}", row[i], widths[i]);
      if (i + 1 < row.size()) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

void throw_wrong_list_length(std::size_t got, int ranks, std::string_view what) {
  throw UsageError(
      fmt::format("{}: {} values for {} ranks; give one value for all, or one per rank", what, got, ranks));
}

}  // namespace lshdp
