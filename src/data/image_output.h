// What is asked of the output of every converter of images, checked before the work.
#pragma once
#include <span>

#include "lshdp/data/converters.h"

namespace lshdp::data {

/// Throws UsageError if class names are given twice, statistics are for another number of channels or implausible, or
/// the output is one of `inputs` or of the files that options name.
void require_fitting_output(const ImageOutput& output, std::int64_t channels,
                            const std::vector<std::filesystem::path>& inputs);

/// Throws UsageError naming `source` unless mean and deviation can be those of pixels scaled to [0, 1].
void require_plausible(const Statistics& statistics, const std::string& source);

/// Throws UsageError naming `source` if a name is there twice.
void require_distinct(std::span<const std::string> names, const std::string& source);

}  // namespace lshdp::data
