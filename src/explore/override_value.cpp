// Builds the value of an override by recursive descent over its words.
#include "override_value.h"

#include <cmath>
#include <initializer_list>
#include <limits>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "override_tokens.h"

namespace lshdp::explore {
namespace {

using Kind = Token::Kind;

constexpr int kDeepest = 64;

std::string without_underscores(std::string_view text) {
  std::string result(text);
  std::erase(result, '_');
  return result.starts_with('+') ? result.substr(1) : result;
}

/// Every second character: what backslashes stand before.
std::string without_backslashes(std::string_view text) {
  std::string result;
  for (std::size_t at = 1; at < text.size(); at += 2) result += text[at];
  return result;
}

/// Within quotes a backslash counts only before a quote of the same kind, or in a row that ends at one.
std::string unquoted(std::string_view text) {
  const char quote = text.front();
  std::string result;
  for (std::size_t at = 1; at + 1 < text.size();) {
    const std::size_t end = std::min(text.find_first_not_of('\\', at), text.size());
    if (end == at) {
      result += text[at++];
    } else if (text[end] == quote) {
      result.append((end - at) / 2, '\\');
      if ((end - at) % 2 != 0) result += quote;
      at = (end - at) % 2 != 0 ? end + 1 : end;
    } else {
      result.append(text.substr(at, end - at));
      at = end;
    }
  }
  return result;
}

class ValueParser {
 public:
  ValueParser(std::string_view override, std::size_t position)
      : override_(override), tokens_(split_value(override, position)) {}

  Json whole() {
    Json value = element(0);
    if (now().kind == Kind::comma)
      refuse("several values ask for several runs: write a list, key=[a,b], or quote the text, key='a,b'");
    if (now().kind != Kind::end) refuse_here();
    return value;
  }

 private:
  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }

  [[noreturn]] void refuse(const std::string& problem) const {
    throw UsageError(fmt::format("override {}: {}", printable(override_), problem));
  }
  [[noreturn]] void refuse_here() const {
    if (now().kind == Kind::end) refuse("it ends too early");
    refuse(fmt::format("'{}' at character {} does not fit; quote the value if it is text: key='text'",
                       printable(now().text), now().position + 1));
  }
  void expect(Kind kind) {
    if (now().kind != kind) refuse_here();
    ++at_;
  }

  Json element(int depth) {
    if (depth > kDeepest) refuse("lists and dictionaries are nested too deeply");
    if (now().kind == Kind::open_list) return list(depth);
    if (now().kind == Kind::open_dictionary) return dictionary(depth);
    if (now().kind == Kind::word && next().kind == Kind::open_call) return call(depth);
    if (now().kind == Kind::quoted) return unquoted(tokens_[at_++].text);
    return primitive(true);
  }

  Json list(int depth) {
    Json result = Json::array();
    expect(Kind::open_list);
    while (now().kind != Kind::close_list) {
      if (!result.empty()) expect(Kind::comma);
      result.push_back(element(depth + 1));
    }
    ++at_;
    return result;
  }

  Json dictionary(int depth) {
    Json result = Json::object();
    expect(Kind::open_dictionary);
    while (now().kind != Kind::close_dictionary) {
      if (!result.empty()) expect(Kind::comma);
      const Json key = primitive(false);
      const std::string name = key.is_string() ? key.get<std::string>() : json_text(key);
      expect(Kind::colon);
      result[name] = element(depth + 1);
    }
    ++at_;
    return result;
  }

  bool is_primitive(bool in_value) const {
    switch (now().kind) {
      case Kind::real:
      case Kind::integer:
      case Kind::boolean:
      case Kind::null:
      case Kind::symbol:
      case Kind::word:
      case Kind::escaped:
      case Kind::blank:
        return true;
      case Kind::colon:
      case Kind::interpolation:
        return in_value;
      default:
        return false;
    }
  }

  /// One word by its kind; several as the text that they are, without blanks around.
  Json primitive(bool in_value) {
    std::size_t begin = at_;
    while (is_primitive(in_value)) ++at_;
    std::size_t end = at_;
    if (begin == end) refuse_here();
    if (tokens_[begin].kind == Kind::blank && ++begin == end) refuse("blanks alone are no value; quote them: key=' '");
    if (tokens_[end - 1].kind == Kind::blank) --end;
    if (end - begin == 1) return single(tokens_[begin]);
    std::string text;
    for (std::size_t at = begin; at < end; ++at)
      text += tokens_[at].kind == Kind::escaped ? without_backslashes(tokens_[at].text) : std::string(tokens_[at].text);
    return text;
  }

  Json single(const Token& token) const {
    const std::string what = fmt::format("override {}", printable(override_));
    switch (token.kind) {
      case Kind::integer:
        return parse_int(without_underscores(token.text), what);
      case Kind::real:
        return real(token, what);
      case Kind::boolean:
        return token.text.size() == 4;
      case Kind::null:
        return nullptr;
      case Kind::escaped:
        return without_backslashes(token.text);
      default:
        return std::string(token.text);
    }
  }

  static Json real(const Token& token, const std::string& what) {
    const std::string text = without_underscores(token.text);
    const char letter = text[text.starts_with('-') ? 1 : 0];
    const double sign = text.starts_with('-') ? -1 : 1;
    if (letter == 'i' || letter == 'I') return sign * std::numeric_limits<double>::infinity();
    if (letter == 'n' || letter == 'N') return std::numeric_limits<double>::quiet_NaN();
    return parse_double(text, what);
  }

  Json call(int depth) {
    const std::string name(now().text);
    at_ += 2;
    if (now().kind == Kind::close_call) refuse(fmt::format("{}() needs a value", name));
    for (const std::string_view sweep : {"choice", "range", "interval", "glob", "sort", "shuffle", "tag"}) {
      if (name == sweep) refuse(fmt::format("{}() asks for several runs: write the values as a list, key=[a,b]", name));
    }
    const std::vector<std::string> casts{"int", "float", "str", "bool"};
    if (std::ranges::find(casts, name) == casts.end())
      refuse(fmt::format("unknown function {}(){}", name, did_you_mean(name, casts)));
    const Json value = element(depth + 1);
    if (now().kind == Kind::comma) refuse(fmt::format("{}() of several values asks for several runs", name));
    expect(Kind::close_call);
    return cast(name, value);
  }

  Json cast(const std::string& name, const Json& value) const {
    if (value.is_structured()) {
      Json result = value;
      for (Json& entry : result) entry = cast(name, entry);
      return result;
    }
    if (value.is_null()) refuse(fmt::format("{}(null) is no value", name));
    const std::string what = fmt::format("override {}", printable(override_));
    if (name == "str")
      return value.is_string() ? value : Json(value.is_number_float() ? real_text(value) : json_text(value));
    if (name == "bool") return to_bool(value);
    if (name == "float") return value.is_string() ? Json(parse_double(value.get<std::string>(), what)) : to_real(value);
    if (value.is_string()) return parse_int(value.get<std::string>(), what);
    return to_integer(value);
  }

  static std::string real_text(const Json& value) { return fmt::format("{}", value.get<double>()); }
  static Json to_real(const Json& value) {
    return value.is_boolean() ? (value.get<bool>() ? 1.0 : 0.0) : value.get<double>();
  }

  Json to_integer(const Json& value) const {
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_number_integer()) return value;
    const double real = std::trunc(value.get<double>());
    if (!(std::abs(real) < 9.2e18)) refuse("int() of a number that does not fit in 64 bits");
    return static_cast<std::int64_t>(real);
  }

  Json to_bool(const Json& value) const {
    if (value.is_boolean()) return value;
    if (value.is_number()) return value.get<double>() != 0;
    const Json word = parse_word(value.get<std::string>());
    if (!word.is_boolean()) refuse(fmt::format("bool('{}') is neither true nor false", value.get<std::string>()));
    return word;
  }

  /// `text` as a boolean, or null.
  static Json parse_word(const std::string& text) {
    const std::vector<Token> tokens = split_value(text, 0);
    return tokens.front().kind == Kind::boolean && tokens.size() == 2 ? Json(tokens.front().text.size() == 4) : Json();
  }

  std::string_view override_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}  // namespace

Json parse_value(std::string_view override, std::size_t position) { return ValueParser(override, position).whole(); }

}  // namespace lshdp::explore
