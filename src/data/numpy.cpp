// NumPy's .npy: a magic number, a version, and a Python dictionary as text.
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "lshdp/data/formats.h"

namespace lshdp::data {
namespace {

using Bytes = std::span<const std::byte>;

std::size_t little_endian(Bytes bytes) {
  std::size_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | std::to_integer<std::size_t>(bytes[i]);
  return value;
}

/// "'descr': '<u2'" -> "<u2"; what follows `key` up to the end of its value.
std::string_view numpy_value(std::string_view header, std::string_view key, char open, char close) {
  const std::size_t found = header.find(fmt::format("'{}'", key));
  if (found == std::string_view::npos) return {};
  std::size_t begin = header.find_first_not_of(" :", found + key.size() + 2);
  if (begin == std::string_view::npos || header[begin] != open) return {};
  const std::size_t end = header.find(close, ++begin);
  return end == std::string_view::npos ? std::string_view() : header.substr(begin, end - begin);
}

std::optional<IntegerType> numpy_type(std::string_view descr) {
  if (descr.size() != 3 || std::string_view("<>|=").find(descr[0]) == std::string_view::npos) return std::nullopt;
  const int bytes = descr[2] - '0';
  if ((descr[1] != 'u' && descr[1] != 'i') || (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8))
    return std::nullopt;
  return IntegerType{bytes, descr[1] == 'i', descr[0] == '>'};
}

}  // namespace

std::string to_text(const IntegerType& type) {
  return fmt::format("{}{}{}", type.is_signed ? 'i' : 'u', 8 * type.bytes, type.big_endian ? " (big-endian)" : "");
}

NumpyHeader parse_numpy_header(Bytes head, const std::string& source) {
  const auto refuse = [&](const std::string& problem) {
    throw UsageError(fmt::format("{}: the NumPy file {}", source, problem));
  };
  if (head.size() < 12) refuse("is truncated");
  const int version = std::to_integer<int>(head[6]);
  const std::size_t begin = version == 1 ? 10 : 12;
  if (version < 1 || version > 3) refuse(fmt::format("is of version {}; 1 to 3 are known", version));
  const auto length = little_endian(head.subspan(8, begin - 8));
  if (length > head.size() - begin) refuse("is truncated, or its header is longer than any of numbers");
  const std::string_view header(reinterpret_cast<const char*>(head.data()) + begin, length);
  const std::string_view descr = numpy_value(header, "descr", '\'', '\'');
  const std::string_view shape = numpy_value(header, "shape", '(', ')');
  const std::optional<IntegerType> type = numpy_type(descr);
  if (!type)
    refuse(fmt::format("holds {}; tokens are integers of 1, 2, 4 or 8 bytes",
                       descr.empty() ? "no plain numbers" : fmt::format("numbers of type '{}'", descr)));
  const std::size_t comma = shape.find(',');
  const bool one = comma != std::string_view::npos && shape.find_first_not_of(' ', comma + 1) == std::string_view::npos;
  if (!one) refuse(fmt::format("holds an array of shape ({}); tokens have one dimension", shape));
  return {static_cast<std::int64_t>(begin + length), parse_int(shape.substr(0, comma), source), *type};
}

}  // namespace lshdp::data
