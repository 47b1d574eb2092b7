// Checks of class names, statistics and places that all converters of images share.
#include "image_output.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"

namespace lshdp::data {

void require_distinct(std::span<const std::string> names, const std::string& source) {
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second)
      throw UsageError(fmt::format("{}: the class name '{}' is there twice", source, name));
  }
}

void require_plausible(const Statistics& statistics, const std::string& source) {
  for (std::size_t c = 0; c < statistics.mean.size(); ++c) {
    const double mean = statistics.mean[c], deviation = statistics.deviation[c];
    if (!std::isfinite(mean) || !std::isfinite(deviation) || deviation <= 0)
      throw UsageError(fmt::format("{}: the mean must be finite and the deviation above 0 in every channel", source));
    if (mean >= 0 && mean <= 1 && deviation <= 1) continue;
    const bool of_bytes = mean >= 0 && mean <= 255 && deviation <= 255;
    throw UsageError(fmt::format("{}: mean {} and deviation {} are not of pixels scaled to [0, 1]{}", source,
                                 fmt::join(statistics.mean, ", "), fmt::join(statistics.deviation, ", "),
                                 of_bytes ? "; divide them by 255" : ""));
  }
}

void require_fitting_output(const ImageOutput& output, std::int64_t channels,
                            const std::vector<std::filesystem::path>& inputs) {
  require_distinct(output.class_names, "--class-names");
  refuse_overwriting("--out", output.path, inputs);
  refuse_overwriting("--out", output.path, output.option_files);
  if (!output.statistics) return;
  const Statistics& statistics = *output.statistics;
  if (static_cast<std::int64_t>(statistics.mean.size()) != channels ||
      static_cast<std::int64_t>(statistics.deviation.size()) != channels) {
    throw UsageError(fmt::format("{}: mean and deviation are of {} channels, but the images have {}",
                                 output.statistics_source, statistics.mean.size(), channels));
  }
  require_plausible(statistics, output.statistics_source);
}

}  // namespace lshdp::data
