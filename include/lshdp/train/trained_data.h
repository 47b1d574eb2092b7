// Data for evaluation, read as the run that made the weights read its training set.
#pragma once
#include <filesystem>
#include <memory>

#include "lshdp/data/dataset.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::train {

/// `dataset`, opened from `path`, with the classes and statistics of the images that `saved` weights were trained on,
/// by run.json of their run; as it is where there is none. Throws UsageError where it does not fit: other classes or
/// channels, tokens of another tokenizer.
std::unique_ptr<data::Dataset> as_trained(std::unique_ptr<data::Dataset> dataset, const std::filesystem::path& path,
                                          const SavedModel& saved);

}  // namespace lshdp::train
