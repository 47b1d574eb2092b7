// A dictionary of a configuration, read by key.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "lshdp/core/json.h"
#include "lshdp/core/text.h"

namespace lshdp::explore {

/// Reads values by key; messages name the file and the key with its section. Null counts as absent, ??? as missing.
class Section {
 public:
  /// `tree` must be a dictionary with no keys but `known`: throws UsageError with the nearest of them otherwise.
  /// `prefix` is what stands before its keys: "model.".
  Section(const Json& tree, std::string prefix, std::string source, std::vector<std::string> known);

  /// True if the key is there and not null.
  bool has(const std::string& key) const;
  std::int64_t integer(const std::string& key, std::int64_t least = 1) const;
  std::int64_t integer_or(const std::string& key, std::int64_t otherwise, std::int64_t least = 1) const;
  double real_or(const std::string& key, double otherwise, double least, double most) const;
  bool boolean_or(const std::string& key, bool otherwise) const;
  std::string text(const std::string& key) const;
  std::string text_or(const std::string& key, const std::string& otherwise) const;
  /// The section below `key`.
  Section section(const std::string& key, std::vector<std::string> known) const;
  /// A list of whole numbers above 0, or one; sorted, each once.
  std::vector<std::int64_t> integers(const std::string& key) const;
  /// The values of `key`, a list or one.
  std::vector<Json> list(const std::string& key) const;
  const Json& value(const std::string& key) const;

  /// The entry of `choices` that `value` of `key` names: pairs of a name and what it stands for.
  template <typename Choices>
  auto choice(const std::string& key, const Json& value, const Choices& choices) const;

  [[noreturn]] void refuse(const std::string& key, const std::string& problem) const;
  const std::string& source() const { return source_; }

 private:
  const Json& require(const std::string& key) const;
  std::int64_t to_integer(const std::string& key, const Json& value, std::int64_t least) const;

  const Json& tree_;
  std::string prefix_, source_;
  std::vector<std::string> known_;
};

template <typename Choices>
auto Section::choice(const std::string& key, const Json& value, const Choices& choices) const {
  std::vector<std::string> names;
  for (const auto& [name, meaning] : choices) {
    if (value == Json(std::string(name))) return meaning;
    names.emplace_back(name);
  }
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  refuse(key, fmt::format("must be one of {}, not {}{}", all, json_text(value),
                          value.is_string() ? did_you_mean(value.get<std::string>(), names) : ""));
}

}  // namespace lshdp::explore
