// Reads a data set as one that belongs to a training set: its classes numbered and its images normalised alike.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lshdp/core/json.h"
#include "lshdp/data/dataset.h"

namespace lshdp::data {

/// What a model takes labels and pixels for: the classes and statistics of the images it was trained on. They come from
/// the training set, or from what a run recorded of it.
struct TrainedOn {
  std::string name;                      // of the training set, for messages
  std::vector<std::string> class_names;  // by label; may be empty
  std::int64_t classes = 0;              // 0: not known
  std::vector<double> mean, deviation;   // per channel, of pixels scaled to [0, 1]
};

TrainedOn trained_on(const DatasetInfo& info, const std::string& name);
/// From what a run recorded of its training set (to_json of DatasetIdentity). Throws UsageError naming `name`.
TrainedOn trained_on(const Json& record, const std::string& name);

/// `dataset` (`name` in messages) with labels, class names, mean and deviation of the training set. Classes go by their
/// names: another order or a part of them is renumbered. Where one of the two has no names, or only numbers, labels
/// stay. What changes is logged in a line each. A data set of tokens is returned as it is. Throws UsageError: a class
/// that the training set does not have, more classes than it has, other channels.
std::unique_ptr<Dataset> matched(std::unique_ptr<Dataset> dataset, const std::string& name, const TrainedOn& training);

}  // namespace lshdp::data
