// YAML by yaml-cpp, scalars typed as PyYAML and OmegaConf type them.
#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/text.h"
#include "lshdp/explore/config.h"

namespace lshdp::explore {
namespace {

constexpr std::size_t kDeepest = 64;
/// Aliases may repeat a value so often that a small file becomes a large tree.
constexpr std::size_t kMaxValues = 100'000;

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

bool is_null(const std::string& text) { return is_one_of(text, {"", "~", "null", "Null", "NULL"}); }

Json plain_scalar(const std::string& text, const std::string& what) {
  if (is_null(text)) return nullptr;
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

/// Builds the tree from the parser's events. yaml-cpp's own nodes would take any number of documents and of aliases
/// first.
class Builder : public YAML::EventHandler {
 public:
  Builder(const std::string& source, Scalars scalars) : source_(source), scalars_(scalars) {}

  Json result() { return std::move(result_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { put(mark, anchor, nullptr, 1); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) refuse(mark, "an alias stands within what it names");
    put(mark, 0, found->second.value, found->second.count);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (awaits_key()) {
      take_key(mark, text);
      return;
    }
    put(mark, anchor, scalar(mark, tag, text), 1);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, Json::array());
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, Json::object());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  /// A list or dictionary that is being read.
  struct Open {
    YAML::Mark mark;
    YAML::anchor_t anchor;
    Json value;
    std::optional<std::string> key;  // of a dictionary: what the next value belongs to
    std::size_t count_before;
  };
  struct Anchor {
    Json value;
    std::size_t count;  // values in it
  };

  std::string place(const YAML::Mark& mark) const {
    return mark.is_null() ? source_ : fmt::format("{}: line {}", source_, mark.line + 1);
  }
  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& problem) const {
    throw UsageError(fmt::format("{}: {}", place(mark), problem));
  }

  Json scalar(const YAML::Mark& mark, const std::string& tag, const std::string& text) const {
    // "!" is the tag of what stands in quotes.
    if (tag == "!") return text;
    if (scalars_ == Scalars::typed) return plain_scalar(text, place(mark));
    return is_null(text) ? Json() : Json(text);
  }

  bool awaits_key() const { return !open_.empty() && open_.back().value.is_object() && !open_.back().key; }

  void take_key(const YAML::Mark& mark, const std::string& text) {
    if (open_.back().value.contains(text)) refuse(mark, fmt::format("the key {} is there twice", printable(text)));
    open_.back().key = text;
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, Json empty) {
    if (awaits_key()) refuse(mark, "a key must be text");
    if (open_.size() >= kDeepest) refuse(mark, "it is nested too deeply");
    open_.push_back({mark, anchor, std::move(empty), std::nullopt, count_});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    const std::size_t inside = count_ - done.count_before;
    count_ = done.count_before;  // put() counts them again, with the value itself
    put(done.mark, done.anchor, std::move(done.value), inside + 1);
  }

  /// `value`, which holds `count` values, goes where the innermost list or dictionary wants it.
  void put(const YAML::Mark& mark, YAML::anchor_t anchor, Json value, std::size_t count) {
    if (awaits_key()) refuse(mark, "a key must be text");
    count_ += count;
    if (count_ > kMaxValues) refuse(mark, fmt::format("it has more than {} values", kMaxValues));
    if (anchor != 0) anchors_[anchor] = {value, count};
    if (open_.empty()) {
      result_ = std::move(value);
    } else if (open_.back().value.is_array()) {
      open_.back().value.push_back(std::move(value));
    } else {
      open_.back().value[*open_.back().key] = std::move(value);
      open_.back().key.reset();
    }
  }

  const std::string& source_;
  Scalars scalars_;
  Json result_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Anchor> anchors_;
  std::size_t count_ = 0;
};

}  // namespace

Json parse_yaml(std::string_view text, const std::string& source, Scalars scalars) {
  if (const std::string kind = kind_of_bytes(text); !kind.empty())
    throw UsageError(fmt::format("{}: not valid YAML: this is {}", source, kind));
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder first(source, scalars), second(source, scalars);
    parser.HandleNextDocument(first);
    if (parser.HandleNextDocument(second)) throw UsageError(source + ": holds several documents; one is wanted");
    return first.result();
  } catch (const YAML::Exception& error) {
    const std::string place = error.mark.is_null() ? source : fmt::format("{}: line {}", source, error.mark.line + 1);
    throw UsageError(fmt::format("{}: not valid YAML: {}", place, printable(error.msg)));
  }
}

}  // namespace lshdp::explore
