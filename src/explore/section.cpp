// Reads sections of a configuration.
#include "section.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "lshdp/core/error.h"

namespace lshdp::explore {
namespace {

const Json kNull;

std::string kind_of(const Json& value) {
  if (value.is_array()) return "a list";
  if (value.is_object()) return "a dictionary";
  return printable(json_text(value));
}

}  // namespace

Section::Section(const Json& tree, std::string prefix, std::string source, std::vector<std::string> known)
    : tree_(tree), prefix_(std::move(prefix)), source_(std::move(source)), known_(std::move(known)) {
  if (!tree_.is_object())
    throw UsageError(fmt::format("{}: {} must be a dictionary, not {}", source_,
                                 prefix_.empty() ? "the configuration" : prefix_.substr(0, prefix_.size() - 1),
                                 kind_of(tree_)));
  for (const auto& [name, entry] : tree_.items()) {
    if (std::ranges::find(known_, name) == known_.end())
      refuse(printable(name), "is not known" + did_you_mean(name, known_, prefix_));
  }
}

void Section::refuse(const std::string& key, const std::string& problem) const {
  throw UsageError(fmt::format("{}: {}{} {}", source_, prefix_, key, problem));
}

const Json& Section::value(const std::string& key) const {
  if (std::ranges::find(known_, key) == known_.end())
    throw std::logic_error("key " + prefix_ + key + " is read, but not among those that are known");
  const auto found = tree_.find(key);
  return found == tree_.end() ? kNull : *found;
}

bool Section::has(const std::string& key) const { return !value(key).is_null(); }

const Json& Section::require(const std::string& key) const {
  const Json& found = value(key);
  if (found.is_null() || found == "???")
    refuse(key, fmt::format("is missing; give it as {}{}{}=..", tree_.contains(key) ? "" : "+", prefix_, key));
  return found;
}

std::int64_t Section::to_integer(const std::string& key, const Json& value, std::int64_t least) const {
  if (value.is_number_float() && std::abs(value.get<double>()) >= 9.2e18) refuse(key, "is beyond 2^63");
  if (!json_is<std::int64_t>(value)) refuse(key, fmt::format("must be a whole number, not {}", kind_of(value)));
  const auto number = value.get<std::int64_t>();
  if (number < least) refuse(key, fmt::format("must be at least {}, not {}", least, number));
  return number;
}

std::int64_t Section::integer(const std::string& key, std::int64_t least) const {
  return to_integer(key, require(key), least);
}

std::int64_t Section::integer_or(const std::string& key, std::int64_t otherwise, std::int64_t least) const {
  return has(key) ? integer(key, least) : otherwise;
}

double Section::real_or(const std::string& key, double otherwise, double least, double most) const {
  if (!has(key)) return otherwise;
  const Json& found = require(key);
  if (!found.is_number()) refuse(key, fmt::format("must be a number, not {}", kind_of(found)));
  const auto number = found.get<double>();
  if (!(number >= least && number <= most))
    refuse(key, fmt::format("must be from {:g} to {:g}, not {:g}", least, most, number));
  return number;
}

bool Section::boolean_or(const std::string& key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const Json& found = require(key);
  if (!found.is_boolean()) refuse(key, fmt::format("must be true or false, not {}", kind_of(found)));
  return found.get<bool>();
}

std::string Section::text(const std::string& key) const {
  const Json& found = require(key);
  if (!found.is_string()) refuse(key, fmt::format("must be text, not {}", kind_of(found)));
  return found.get<std::string>();
}

std::string Section::text_or(const std::string& key, const std::string& otherwise) const {
  return has(key) ? text(key) : otherwise;
}

Section Section::section(const std::string& key, std::vector<std::string> known) const {
  return {require(key), prefix_ + key + '.', source_, std::move(known)};
}

std::vector<Json> Section::list(const std::string& key) const {
  const Json& found = require(key);
  if (found.is_array() && found.empty()) refuse(key, "is an empty list: there is nothing to search");
  return found.is_array() ? found.get<std::vector<Json>>() : std::vector<Json>{found};
}

std::vector<std::int64_t> Section::integers(const std::string& key) const {
  std::vector<std::int64_t> numbers;
  for (const Json& entry : list(key)) numbers.push_back(to_integer(key, entry, 1));
  std::ranges::sort(numbers);
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

}  // namespace lshdp::explore
