// Checks of the values in a model's description.
#include "description.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace lshdp::model {

Description::Description(const Json& object, std::string source) : object_(object), source_(std::move(source)) {
  if (!object.is_object()) throw UsageError(fmt::format("{}: a model's description must be a JSON object", source_));
}

std::int64_t Description::size(const std::string& key, std::int64_t largest) {
  known_.insert(key);
  const auto value = json_value<std::int64_t>(object_, key, source_);
  require_range(key, value, largest);
  return value;
}

std::int64_t Description::size_or(const std::string& key, std::int64_t otherwise, std::int64_t largest) {
  known_.insert(key);
  return has(key) ? size(key, largest) : otherwise;
}

std::vector<std::int64_t> Description::sizes(const std::string& key) {
  known_.insert(key);
  const auto list = json_value<Json>(object_, key, source_);
  if (!list.is_array()) throw_wrong_key(source_, key, "must be a list of whole numbers, e.g. [512,256]");
  std::vector<std::int64_t> values;
  for (const Json& entry : list) {
    if (!entry.is_number_integer()) throw_wrong_key(source_, key, "must be a list of whole numbers, e.g. [512,256]");
    values.push_back(entry.get<std::int64_t>());
    require_range(key, values.back(), kLargestSize);
  }
  if (values.size() > static_cast<std::size_t>(kMaxLayers)) {
    throw_wrong_key(source_, key, fmt::format("may have at most {} entries", kMaxLayers));
  }
  return values;
}

double Description::positive(const std::string& key) {
  known_.insert(key);
  const auto value = json_value<double>(object_, key, source_);
  require_positive(key, value);
  return value;
}

double Description::positive_or(const std::string& key, double otherwise) {
  known_.insert(key);
  const double value = json_value_or<double>(object_, key, otherwise, source_);
  require_positive(key, value);
  return value;
}

bool Description::flag_or(const std::string& key, bool otherwise) {
  known_.insert(key);
  return has(key) ? json_value<bool>(object_, key, source_) : otherwise;
}

std::string Description::text(const std::string& key) {
  known_.insert(key);
  return json_value<std::string>(object_, key, source_);
}

Description Description::inside(const std::string& key) {
  known_.insert(key);
  if (!object_.contains(key) || !object_.at(key).is_object()) throw_wrong_key(source_, key, "must be a JSON object");
  return {object_.at(key), fmt::format("{}: \"{}\"", source_, key)};
}

void Description::allow_only(const std::string& key, const Json& value) { allow_only_one_of(key, {value}); }

void Description::allow_only_one_of(const std::string& key, std::initializer_list<Json> values) {
  known_.insert(key);
  if (!object_.contains(key) || std::ranges::find(values, object_.at(key)) != values.end()) return;
  throw_wrong_key(source_, key,
                  fmt::format("is {}, which is not supported; set it to {} or leave it out", object_.at(key).dump(),
                              values.begin()->dump()));
}

void Description::allow_only_list_of(const std::string& key, const Json& value) {
  known_.insert(key);
  if (!has(key)) return;
  const Json& list = object_.at(key);
  if (list.is_array() && std::ranges::all_of(list, [&](const Json& entry) { return entry == value; })) return;
  throw_wrong_key(source_, key, fmt::format("is {}; only {} is supported, for all layers", list.dump(), value.dump()));
}

double Description::dropout(const std::string& key) {
  known_.insert(key);
  if (!has(key)) return 0;
  const auto value = json_value<double>(object_, key, source_);
  if (!(value >= 0 && value < 1)) throw_wrong_key(source_, key, "must be at least 0 and below 1");
  return value;
}

void Description::ignore_dropout(const std::string& key) {
  const double value = dropout(key);
  if (value > 0) dropped_.push_back(fmt::format("{} {}", key, value));
}

void Description::refuse_unknown_keys() const {
  for (const auto& [key, value] : object_.items()) {
    if (known_.contains(key)) continue;
    throw_wrong_key(source_, key, fmt::format("is not known here; the keys are {}", fmt::join(known_, ", ")));
  }
}

void Description::require_divides(const std::string& key, std::int64_t value, const std::string& divisor_key,
                                  std::int64_t divisor) const {
  if (value % divisor == 0) return;
  throw_wrong_key(source_, key, fmt::format("({}) must be a multiple of \"{}\" ({})", value, divisor_key, divisor));
}

void Description::require_range(const std::string& key, std::int64_t value, std::int64_t largest) const {
  if (value >= 1 && value <= largest) return;
  throw_wrong_key(source_, key, fmt::format("must be a whole number from 1 to {}", largest));
}

void Description::require_positive(const std::string& key, double value) const {
  if (!(value > 0) || !std::isfinite(value)) throw_wrong_key(source_, key, "must be above 0");
}

}  // namespace lshdp::model
