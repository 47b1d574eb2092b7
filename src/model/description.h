// Reads the JSON description of a model key by key, so that each message names the file, the key and the remedy.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

#include "lshdp/core/json.h"

namespace lshdp::model {

/// Sizes above these are typing errors; below them no product of sizes leaves 63 bits.
constexpr std::int64_t kLargestSize = std::int64_t{1} << 22;
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kLargestImage = std::int64_t{1} << 16;

/// A description that remembers which keys it was asked for. Every function throws UsageError.
class Description {
 public:
  Description(const Json& object, std::string source);

  bool contains(const std::string& key) const { return object_.contains(key); }
  /// It is there, and not null.
  bool has(const std::string& key) const { return contains(key) && !object_.at(key).is_null(); }
  /// A whole number in [1, largest].
  std::int64_t size(const std::string& key, std::int64_t largest = kLargestSize);
  /// As size(); `otherwise` where the key is missing or null.
  std::int64_t size_or(const std::string& key, std::int64_t otherwise, std::int64_t largest = kLargestSize);
  /// One or more sizes, or none at all.
  std::vector<std::int64_t> sizes(const std::string& key);
  /// A number above zero.
  double positive(const std::string& key);
  /// A number above zero; `otherwise` where the key is missing.
  double positive_or(const std::string& key, double otherwise);
  /// true or false; `otherwise` where the key is missing or null.
  bool flag_or(const std::string& key, bool otherwise);
  std::string text(const std::string& key);
  /// The object at the key, whose messages name it. Must not outlive this description.
  Description inside(const std::string& key);
  /// The key may be there only with this value, because nothing else is supported.
  void allow_only(const std::string& key, const Json& value);
  /// The key may be there only with one of these values.
  void allow_only_one_of(const std::string& key, std::initializer_list<Json> values);
  /// The key may be there with a list of this value alone, or with null.
  void allow_only_list_of(const std::string& key, const Json& value);
  /// The key may be there with a probability, which nobody applies: dropped() lists those above 0.
  void ignore_dropout(const std::string& key);
  /// A probability of dropping, at least 0 and below 1; 0 where the key is missing.
  double dropout(const std::string& key);
  const std::vector<std::string>& dropped() const { return dropped_; }
  /// The key may be there with any value: it does not concern us.
  void ignore(const std::string& key) { known_.insert(key); }
  /// Refuses keys that nobody asked for.
  void refuse_unknown_keys() const;
  /// Refuses unless `key` is a multiple of `divisor_key`.
  void require_divides(const std::string& key, std::int64_t value, const std::string& divisor_key,
                       std::int64_t divisor) const;

  const std::string& source() const { return source_; }

 private:
  void require_range(const std::string& key, std::int64_t value, std::int64_t largest) const;
  void require_positive(const std::string& key, double value) const;

  const Json& object_;
  std::string source_;
  std::set<std::string> known_;
  std::vector<std::string> dropped_;
};

}  // namespace lshdp::model
