// Data for evaluation, read as the run that made the weights read its training set.
#pragma once
#include <filesystem>
#include <memory>

#include <nlohmann/json_fwd.hpp>

#include "lshdp/data/dataset.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::train {

/// What the run that `saved` weights are of recorded of its training set, and where; null where nothing did. Throws
/// UsageError: run.json is damaged.
nlohmann::json training_set_of(const SavedModel& saved);

/// Of a `training_set` of tokens, what training_set_of() gave: the part that tells tokens apart.
data::DatasetInfo trained_tokens_of(const nlohmann::json& training_set);

/// `dataset`, opened from `path`, with the classes and statistics of the images of `training_set`, which is what
/// training_set_of() gave; as it is, with a warning for images, where that is null. Throws UsageError where it does not
/// fit: other classes or channels, tokens of another tokenizer.
std::unique_ptr<data::Dataset> as_trained(std::unique_ptr<data::Dataset> dataset, const std::filesystem::path& path,
                                          const nlohmann::json& training_set);

}  // namespace lshdp::train
