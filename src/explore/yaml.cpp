// YAML by yaml-cpp, scalars typed as PyYAML and OmegaConf type them.
#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/text.h"
#include "lshdp/explore/config.h"

namespace lshdp::explore {
namespace {

constexpr int kDeepest = 64;
/// Aliases may repeat a value so often that a small file becomes a large tree.
constexpr std::size_t kMostValues = 100'000;

bool is_one_of(const std::string& text, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, text) != words.end();
}

std::string without_underscores(std::string text) {
  std::erase(text, '_');
  return text.starts_with('+') ? text.substr(1) : text;
}

bool all_of(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

/// Base of a YAML 1.1 whole number, and where its digits begin; 0 if it is none.
struct Number {
  int base = 0;
  std::string_view digits;
};

Number whole_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const auto with = [&](int base, std::size_t prefix, std::string_view allowed) -> Number {
    const std::string_view digits = text.substr(std::min(prefix, text.size()));
    return all_of(digits, allowed) ? Number{base, digits} : Number();
  };
  if (text.starts_with("0x")) return with(16, 2, "0123456789abcdefABCDEF");
  if (text.starts_with("0b")) return with(2, 2, "01");
  if (text.size() > 1 && text.starts_with('0')) return with(8, 1, "01234567");
  return with(10, 0, "0123456789");
}

/// True for decimal numbers with a point or an exponent.
bool is_real(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const bool marked = text.find_first_of(".eE") != std::string_view::npos && text != ".";
  if (!marked || !all_of(text, "0123456789.eE+-") || text[0] == 'e' || text[0] == 'E') return false;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return end == text.data() + text.size() && error != std::errc::invalid_argument;
}

Json plain_scalar(const std::string& text, const std::string& what) {
  if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (is_one_of(text, {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) return true;
  if (is_one_of(text, {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) return false;
  const std::string plain = without_underscores(text);
  if (text.front() != '_' && whole_number(plain).base != 0) {
    const Number number = whole_number(plain);
    const std::string digits = (plain.starts_with('-') ? "-" : "") + std::string(number.digits);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, number.base);
    if (error != std::errc{}) throw UsageError(fmt::format("{}: {} does not fit in 64 bits", what, text));
    return value;
  }
  if (text.front() != '_' && is_real(plain)) return parse_double(plain, what);
  return text;
}

class Reader {
 public:
  explicit Reader(const std::string& source) : source_(source) {}

  Json read(const YAML::Node& node, int depth) {
    if (depth > kDeepest) refuse(node, "is nested too deeply");
    if (++values_ > kMostValues) refuse(node, fmt::format("has more than {} values", kMostValues));
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        // "!" is the tag of what stands in quotes.
        return node.Tag() == "!" ? Json(node.Scalar()) : plain_scalar(node.Scalar(), place(node));
      case YAML::NodeType::Sequence:
        return sequence(node, depth);
      case YAML::NodeType::Map:
        return mapping(node, depth);
      default:
        return nullptr;
    }
  }

 private:
  std::string place(const YAML::Node& node) const {
    return node.Mark().is_null() ? source_ : fmt::format("{}: line {}", source_, node.Mark().line + 1);
  }
  [[noreturn]] void refuse(const YAML::Node& node, const std::string& problem) const {
    throw UsageError(fmt::format("{}: {}", place(node), problem));
  }

  Json sequence(const YAML::Node& node, int depth) {
    Json list = Json::array();
    for (const YAML::Node& entry : node) list.push_back(read(entry, depth + 1));
    return list;
  }

  Json mapping(const YAML::Node& node, int depth) {
    Json object = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) refuse(entry.first, "a key must be text");
      const std::string& key = entry.first.Scalar();
      if (object.contains(key)) refuse(entry.first, fmt::format("the key {} is there twice", printable(key)));
      object[key] = read(entry.second, depth + 1);
    }
    return object;
  }

  const std::string& source_;
  std::size_t values_ = 0;
};

}  // namespace

Json parse_yaml(std::string_view text, const std::string& source) {
  if (const std::string kind = kind_of_bytes(text); !kind.empty())
    throw UsageError(fmt::format("{}: not valid YAML: this is {}", source, kind));
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1)
      throw UsageError(fmt::format("{}: holds {} documents; one is wanted", source, documents.size()));
    return documents.empty() ? Json() : Reader(source).read(documents.front(), 0);
  } catch (const YAML::Exception& error) {
    const std::string place = error.mark.is_null() ? source : fmt::format("{}: line {}", source, error.mark.line + 1);
    throw UsageError(fmt::format("{}: not valid YAML: {}", place, printable(error.msg)));
  }
}

}  // namespace lshdp::explore
