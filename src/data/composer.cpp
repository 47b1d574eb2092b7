// The algorithm of the Unicode standard (section 3.11), on the few places that may change.
#include "composer.h"

#include <algorithm>

#include "composition_tables.h"
#include "utf8.h"

namespace lshdp::data {
namespace {

// Korean syllables are made by counting.
constexpr std::uint32_t kSyllables = 0xac00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11a7;
constexpr std::uint32_t kLeadCount = 19, kVowelCount = 21, kTailCount = 28;
constexpr std::uint32_t kSyllableCount = kLeadCount * kVowelCount * kTailCount;

/// `code` as one of `count` from `first` on.
bool is_among(std::uint32_t code, std::uint32_t first, std::uint32_t count) { return code - first < count; }

std::uint64_t key_of(std::uint32_t left, std::uint32_t right) { return std::uint64_t{left} << 32 | right; }

}  // namespace

Composer::Composer() : may_change_(0x30000) {
  for (const MarkClass& marks : mark_classes()) {
    for (std::uint32_t code = marks.first; code <= marks.last; ++code) {
      classes_.emplace(code, marks.value);
      may_change_[code] = true;
    }
  }
  for (const Decomposition& each : decompositions()) {
    parts_.emplace(each.code, std::pair(each.first, each.second));
    if (each.joins) {
      joined_.emplace(key_of(each.first, each.second), each.code);
      may_change_[each.second] = true;
    } else {
      may_change_[each.code] = true;
    }
  }
  for (std::uint32_t i = 0; i < kVowelCount; ++i) may_change_[kVowels + i] = true;
  for (std::uint32_t i = 1; i < kTailCount; ++i) may_change_[kTails + i] = true;
}

std::string Composer::operator()(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  std::size_t kept = 0;   // what stands before is in the result
  std::size_t begin = 0;  // of the last character that does not change, where what follows may join with it
  const auto read = [&](std::size_t at) { return utf8_character(text, at); };
  for (std::size_t at = 0; at < text.size();) {
    Utf8Character character = read(at);
    if (!character.valid || !may_change(character.code)) {
      begin = character.valid ? at : at + character.size;
      at += character.size;
      continue;
    }
    Codes codes;
    for (std::size_t from = begin; from < at;) {
      const Utf8Character before = read(from);
      take_apart(before.code, codes);
      from += before.size;
    }
    for (; character.valid && may_change(character.code); character = at < text.size() ? read(at) : Utf8Character()) {
      take_apart(character.code, codes);
      at += character.size;
    }
    result += text.substr(kept, begin - kept);
    order_marks(codes);
    for (const std::uint32_t code : composed(codes)) append_utf8(code, result);
    kept = begin = at;
  }
  result += text.substr(kept);
  return result;
}

std::uint8_t Composer::class_of(std::uint32_t code) const {
  if (!may_change(code)) return 0;
  const auto found = classes_.find(code);
  return found == classes_.end() ? 0 : found->second;
}

void Composer::take_apart(std::uint32_t code, Codes& parts) const {
  if (is_among(code, kSyllables, kSyllableCount)) {
    const std::uint32_t number = code - kSyllables, tail = number % kTailCount;
    parts.push_back(kLeads + number / kTailCount / kVowelCount);
    parts.push_back(kVowels + number / kTailCount % kVowelCount);
    if (tail != 0) parts.push_back(kTails + tail);
    return;
  }
  const auto found = parts_.find(code);
  if (found == parts_.end()) return parts.push_back(code);
  take_apart(found->second.first, parts);
  if (found->second.second != 0) take_apart(found->second.second, parts);
}

void Composer::order_marks(Codes& codes) const {
  const auto is_mark = [&](std::uint32_t code) { return class_of(code) != 0; };
  for (auto begin = codes.begin(); begin != codes.end();) {
    begin = std::find_if(begin, codes.end(), is_mark);
    const auto end = std::find_if_not(begin, codes.end(), is_mark);
    std::stable_sort(begin, end, [&](std::uint32_t a, std::uint32_t b) { return class_of(a) < class_of(b); });
    begin = end;
  }
}

std::uint32_t Composer::joined(std::uint32_t left, std::uint32_t right) const {
  if (is_among(left, kLeads, kLeadCount) && is_among(right, kVowels, kVowelCount))
    return kSyllables + ((left - kLeads) * kVowelCount + (right - kVowels)) * kTailCount;
  const bool without_tail = is_among(left, kSyllables, kSyllableCount) && (left - kSyllables) % kTailCount == 0;
  if (without_tail && is_among(right, kTails + 1, kTailCount - 1)) return left + (right - kTails);
  const auto found = joined_.find(key_of(left, right));
  return found == joined_.end() ? 0 : found->second;
}

/// A mark joins with the last character that is none, unless a mark of its class or a later one stands between them.
Composer::Codes Composer::composed(const Codes& codes) const {
  Codes result;
  std::size_t base = codes.size();  // in the result; codes.size(): none yet
  std::uint8_t last_class = 0;      // of the last in the result
  for (const std::uint32_t code : codes) {
    const std::uint8_t own_class = class_of(code);
    const bool reaches = base < result.size() && (base + 1 == result.size() || last_class < own_class);
    if (const std::uint32_t one = reaches ? joined(result[base], code) : 0; one != 0) {
      result[base] = one;
      continue;
    }
    if (own_class == 0) base = result.size();
    last_class = own_class;
    result.push_back(code);
  }
  return result;
}

}  // namespace lshdp::data
