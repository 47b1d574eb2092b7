// Mutations of bytes and of JSON trees.
#include "mutate.h"

#include <algorithm>

namespace lshdp::test {
namespace {

/// What breaks parsers: limits of integer types, numbers that are none, and structure.
const std::vector<std::string>& tokens() {
  static const std::vector<std::string> all{"0",
                                            "-1",
                                            "1",
                                            "2147483648",
                                            "4294967296",
                                            "9223372036854775807",
                                            "9223372036854775808",
                                            "18446744073709551616",
                                            "1e308",
                                            "1e999",
                                            "-0.0",
                                            "0.5",
                                            "nan",
                                            "inf",
                                            "null",
                                            "true",
                                            "{}",
                                            "[]",
                                            "\"\"",
                                            "\"x\"",
                                            ",",
                                            ":",
                                            "[",
                                            "]",
                                            "{",
                                            "}",
                                            std::string(1, '\0'),
                                            "\xff\xff\xff\xff",
                                            std::string("\x00\x00\x00\x80", 4),
                                            std::string(8, '\xff'),
                                            std::string(8, '\0'),
                                            "GiB",
                                            "-",
                                            ".",
                                            " ",
                                            "\n",
                                            "\"version\":",
                                            "\xc3\x28"};
  return all;
}

/// Replaces a run of digits, if there is one, by an extreme number.
void replace_number(std::string& text, Random& random) {
  const std::size_t begin = text.find_first_of("0123456789", random.below(text.size() + 1));
  if (begin == std::string::npos) return;
  const std::size_t end = std::min(text.find_first_not_of("0123456789.", begin), text.size());
  text.replace(begin, end - begin, random.of(tokens()));
}

}  // namespace

void mutate_bytes(std::string& text, const std::vector<std::string>& others, Random& random) {
  const std::size_t at = random.below(text.size() + 1);
  const std::size_t length = random.below(std::min<std::size_t>(text.size() - at, 64) + 1);
  switch (random.below(9)) {
    case 0:
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random.below(8)));
      break;
    case 1:
      if (at < text.size()) text[at] = random.byte();
      break;
    case 2:
      text.erase(at, length);
      break;
    case 3:
      text.insert(at, text.substr(at, length));
      break;
    case 4:
      text.insert(at, random.of(tokens()));
      break;
    case 5:
      text.resize(at);
      break;
    case 6:
      replace_number(text, random);
      break;
    case 7: {
      const std::string& token = random.of(tokens());
      text.replace(at, std::min(token.size(), text.size() - at), token);
      break;
    }
    default: {
      const std::string& other = random.of(others);
      text.replace(at, length, other.substr(random.below(other.size() + 1), random.below(64)));
    }
  }
  if (text.size() > kMaxInput) text.resize(kMaxInput);
}

namespace {

/// Every value of the tree, the root first.
void collect(Json& value, std::vector<Json*>& values) {
  values.push_back(&value);
  if (value.is_structured()) {
    for (auto& child : value) collect(child, values);
  }
}

Json extreme_value(Random& random) {
  static const std::vector<Json> all{nullptr,
                                     true,
                                     0,
                                     1,
                                     -1,
                                     2,
                                     0.5,
                                     1e308,
                                     -1e308,
                                     1e-308,
                                     2147483648LL,
                                     4294967297LL,
                                     INT64_MAX,
                                     INT64_MIN,
                                     UINT64_MAX,
                                     "",
                                     "x",
                                     "1",
                                     std::string(1000, 'y'),
                                     Json::array(),
                                     Json::object(),
                                     Json::array({1, 2, 3}),
                                     Json::array({Json::array()}),
                                     Json{{"a", 1}}};
  return random.of(all);
}

void mutate(Json& tree, Random& random) {
  std::vector<Json*> values;
  collect(tree, values);
  Json& value = *random.of(values);
  switch (random.below(4)) {
    case 0:
      value = extreme_value(random);
      break;
    case 1: {  // removes a child
      if (!value.is_structured() || value.empty()) break;
      const auto index = static_cast<std::ptrdiff_t>(random.below(value.size()));
      value.erase(std::next(value.begin(), index));
      break;
    }
    case 2: {  // repeats a child
      if (value.is_array() && !value.empty()) {
        const Json child = value[random.below(value.size())];
        value.insert(value.begin() + static_cast<std::ptrdiff_t>(random.below(value.size() + 1)), child);
      } else if (value.is_object()) {
        value["unknown"] = extreme_value(random);
      }
      break;
    }
    default: {  // copies another value of the tree
      const Json copy = *random.of(values);
      value = copy;
    }
  }
}

}  // namespace

bool mutate_json(std::string& text, Random& random) {
  try {
    Json tree = parse_json(text, "");
    mutate(tree, random);
    text = json_text(tree);
    return true;
  } catch (const UsageError&) {
    return false;
  }
}

}  // namespace lshdp::test
