// Peaks by the words of a device's name.
#include "device_peak.h"

#include <algorithm>
#include <string>
#include <vector>

namespace lshdp::train {
namespace {

using plan::Precision;

struct Peak {
  std::vector<std::string_view> words;  // all of them are in the name
  double tera_16 = 0, tera_fp32 = 0;    // 10^12 operations a second: of fp16 (and bf16), and of fp32 without TF32
  bool bf16 = true;                     // its matrix units take bf16
};

/// Devices that are slower come first where their names hold those of others.
const std::vector<Peak>& peaks() {
  static const std::vector<Peak> table{
      {{"H100", "PCIe"}, 756, 51}, {{"H100", "HBM3"}, 989, 67},  {{"H200"}, 989, 67},
      {{"A100"}, 312, 19.5},       {{"A10"}, 125, 31.2},         {{"L40S"}, 362, 91.6},
      {{"L4"}, 121, 30.3},         {{"RTX", "4090"}, 165, 82.6}, {{"RTX", "3090"}, 71, 35.6},
      {{"T4"}, 65, 8.1, false},    {{"V100"}, 125, 15.7, false}};
  return table;
}

/// Of these the data sheet is another one.
bool is_variant(std::string_view word) {
  constexpr std::string_view variants[] = {"NVL", "MIG", "Ti", "D", "Laptop", "Max"};
  return std::ranges::find(variants, word) != std::end(variants);
}

/// "NVIDIA A100-SXM4-80GB" -> NVIDIA, A100, SXM4, 80GB.
std::vector<std::string_view> words_of(std::string_view name) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t end = std::min(name.find_first_of(" -", at), name.size());
    if (end > at) words.push_back(name.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

}  // namespace

double device_peak(std::string_view description, Precision precision) {
  constexpr double tera = 1e12;
  const std::vector<std::string_view> words = words_of(description);
  if (std::ranges::any_of(words, is_variant)) return 0;
  for (const Peak& peak : peaks()) {
    const auto is_in_name = [&](std::string_view word) { return std::ranges::find(words, word) != words.end(); };
    if (!std::ranges::all_of(peak.words, is_in_name)) continue;
    if (precision == Precision::fp32) return tera * peak.tera_fp32;
    const bool has_units = precision == Precision::fp16 || (precision == Precision::bf16 && peak.bf16);
    return has_units ? tera * peak.tera_16 : 0;
  }
  return 0;
}

}  // namespace lshdp::train
