// Compares the classes and statistics of a data set with those of a training set, and renumbers labels.
#include "lshdp/data/matching.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "image_output.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"

namespace lshdp::data {
namespace {

using Names = std::vector<std::string>;

/// A data set with labels and description of another.
class MatchedDataset : public Dataset {
 public:
  /// `labels[i]`: what label i becomes; empty: labels stay.
  MatchedDataset(std::unique_ptr<Dataset> dataset, std::vector<std::int64_t> labels, DatasetInfo info)
      : dataset_(std::move(dataset)), labels_(std::move(labels)), info_(std::move(info)) {}

  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return dataset_->size(); }
  std::int64_t memory_bytes() const override { return dataset_->memory_bytes(); }

  std::int64_t terms(std::span<const std::int64_t> samples) const override { return dataset_->terms(samples); }

  Batch read(std::span<const std::int64_t> samples) override {
    Batch batch = dataset_->read(samples);
    if (labels_.empty()) return batch;
    auto* target = batch.target.mutable_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < batch.target.numel(); ++i) target[i] = labels_[static_cast<std::size_t>(target[i])];
    return batch;
  }

 private:
  std::unique_ptr<Dataset> dataset_;
  std::vector<std::int64_t> labels_;
  DatasetInfo info_;
};

/// True if names say no more than labels: none, or "0", "1", ..., as converters write where a format has no names.
bool say_nothing(const Names& names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] != std::to_string(i)) return false;
  }
  return true;
}

bool are_numbers(const Names& names) {
  return std::all_of(names.begin(), names.end(),
                     [](const std::string& name) { return name.find_first_not_of("0123456789") == std::string::npos; });
}

/// Names count unless one of the two sets has none that say something, and the other's are not numbers as well.
bool go_by_names(const Names& names, const Names& trained_names) {
  if (names.empty() || trained_names.empty()) return false;
  return (are_numbers(names) && are_numbers(trained_names)) || (!say_nothing(names) && !say_nothing(trained_names));
}

bool are_distinct(Names names) {
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) == names.end();
}

void require_no_more_classes(const DatasetInfo& info, const std::string& name, const TrainedOn& training) {
  if (training.classes == 0 || info.classes <= training.classes) return;
  throw UsageError(
      fmt::format("{} has {} classes, but {} has {}", name, info.classes, training.name, training.classes));
}

std::int64_t label_of(const std::string& class_name, const std::string& name, const TrainedOn& training) {
  const auto found = std::find(training.class_names.begin(), training.class_names.end(), class_name);
  if (found != training.class_names.end()) return found - training.class_names.begin();
  throw UsageError(fmt::format("{} has a class '{}', which {} does not have; its classes are {}", name,
                               printable(class_name), training.name, fmt::join(training.class_names, ", ")));
}

/// What each label becomes; empty if all stay.
std::vector<std::int64_t> labels_by_name(const DatasetInfo& info, const std::string& name, const TrainedOn& training) {
  if (!are_distinct(info.class_names) || !are_distinct(training.class_names))
    throw UsageError(fmt::format("{}: a class name is there twice, so classes cannot be told by their names",
                                 are_distinct(info.class_names) ? training.name : name));
  std::vector<std::int64_t> labels;
  for (const std::string& class_name : info.class_names) labels.push_back(label_of(class_name, name, training));
  std::vector<std::int64_t> same(labels.size());
  std::iota(same.begin(), same.end(), std::int64_t{0});
  if (labels == same) return {};
  spdlog::warn("{}: classes are numbered by their names as in {} ({} there, {} here)", printable(name),
               printable(training.name), training.class_names.size(), info.class_names.size());
  return labels;
}

std::vector<std::int64_t> new_labels(const DatasetInfo& info, const std::string& name, const TrainedOn& training) {
  if (info.class_names != training.class_names && go_by_names(info.class_names, training.class_names))
    return labels_by_name(info, name, training);
  require_no_more_classes(info, name, training);
  const bool nothing_here = say_nothing(info.class_names), nothing_there = say_nothing(training.class_names);
  if (nothing_here != nothing_there) {
    spdlog::warn("{} has class names and {} has none: labels are taken as they are",
                 printable(nothing_here ? training.name : name), printable(nothing_here ? name : training.name));
  }
  return {};
}

bool differ(const std::vector<double>& a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::abs(a[i] - b[i]) > 1e-9) return true;
  }
  return false;
}

std::string numbers(const std::vector<double>& values) { return fmt::format("{:.4f}", fmt::join(values, ", ")); }

void say_whose_statistics(const DatasetInfo& info, const std::string& name, const TrainedOn& training) {
  if (!differ(info.mean, training.mean) && !differ(info.deviation, training.deviation)) return;
  spdlog::info("{} is normalised as {}: mean {}, deviation {} (its own: {} and {})", printable(name),
               printable(training.name), numbers(training.mean), numbers(training.deviation), numbers(info.mean),
               numbers(info.deviation));
}

}  // namespace

TrainedOn trained_on(const DatasetInfo& info, const std::string& name) {
  return {name, info.class_names, info.classes, info.mean, info.deviation};
}

TrainedOn trained_on(const Json& record, const std::string& name) {
  TrainedOn training{.name = name,
                     .class_names = json_value_or<Names>(record, "class_names", {}, name),
                     .mean = json_value<std::vector<double>>(record, "mean", name),
                     .deviation = json_value<std::vector<double>>(record, "deviation", name)};
  training.classes = static_cast<std::int64_t>(training.class_names.size());
  require_plausible({training.mean, training.deviation}, name);
  return training;
}

std::unique_ptr<Dataset> matched(std::unique_ptr<Dataset> dataset, const std::string& name, const TrainedOn& training) {
  DatasetInfo info = dataset->info();
  if (info.kind != DatasetInfo::Kind::images) return dataset;
  if (static_cast<std::size_t>(info.channels) != training.mean.size())
    throw UsageError(fmt::format("{}: images have {} channels, but those of {} have {}", name, info.channels,
                                 training.name, training.mean.size()));
  std::vector<std::int64_t> labels = new_labels(info, name, training);
  say_whose_statistics(info, name, training);
  info.class_names = training.class_names;
  info.classes = std::max(info.classes, training.classes);
  info.mean = training.mean;
  info.deviation = training.deviation;
  return std::make_unique<MatchedDataset>(std::move(dataset), std::move(labels), std::move(info));
}

}  // namespace lshdp::data
