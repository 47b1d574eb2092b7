// Data sets in HDF5 files: small ones are read whole at first use, large ones sample by sample.
#include "lshdp/data/dataset.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "hdf5_file.h"
#include "lshdp/core/error.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

/// Calls f(at, first, length) for each run of consecutive samples: samples[at, at + length) = first, first + 1, ...
/// Throws UsageError if a sample is not in [0, size).
template <typename F>
void for_each_run(std::span<const std::int64_t> samples, std::int64_t size, const fs::path& path, F f) {
  for (std::size_t at = 0; at < samples.size();) {
    std::size_t end = at + 1;
    while (end < samples.size() && samples[end] == samples[end - 1] + 1) ++end;
    if (samples[at] < 0 || samples[end - 1] >= size) {
      throw UsageError(fmt::format("{}: there is no sample {}; the data set has {}", path.string(),
                                   samples[at] < 0 ? samples[at] : samples[end - 1], size));
    }
    f(static_cast<std::int64_t>(at), samples[at], static_cast<std::int64_t>(end - at));
    at = end;
  }
}

class ImageDataset : public Dataset {
 public:
  ImageDataset(const fs::path& path, const H5::H5File& file, DatasetInfo info, std::int64_t in_memory_limit)
      : path_(path),
        images_(file.openDataSet("images")),
        info_(std::move(info)),
        labels_(read_labels(file, path)),
        image_bytes_(info_.channels * info_.height * info_.width),
        keep_(image_bytes_ <= in_memory_limit / info_.count) {
    constexpr std::int64_t most =
        std::numeric_limits<std::int32_t>::max();  // a larger label is refused when it is read
    if (info_.classes == 0)
      info_.classes = std::clamp<std::int64_t>(*std::max_element(labels_.begin(), labels_.end()), 0, most - 1) + 1;
  }

  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return info_.count; }
  std::int64_t memory_bytes() const override {
    return static_cast<std::int64_t>(labels_.size() * sizeof labels_.front()) +
           (keep_ ? info_.count * image_bytes_ : 0);
  }

  std::int64_t terms(std::span<const std::int64_t> samples) const override { return std::ssize(samples); }

  Batch read(std::span<const std::int64_t> samples) override {
    if (keep_ && memory_.empty()) read_all();
    const auto count = static_cast<std::int64_t>(samples.size());
    Batch batch{at::empty({count, info_.channels, info_.height, info_.width}, at::kByte),
                at::empty({count}, at::kLong)};
    auto* pixels = batch.input.mutable_data_ptr<std::uint8_t>();
    for_each_run(samples, size(), path_, [&](std::int64_t at, std::int64_t first, std::int64_t length) {
      read_images(first, length, pixels + at * image_bytes_);
    });
    auto* targets = batch.target.mutable_data_ptr<std::int64_t>();
    for (const std::int64_t sample : samples) *targets++ = checked_label(sample);
    return batch;
  }

 private:
  void read_all() {
    std::vector<std::uint8_t> all(static_cast<std::size_t>(info_.count * image_bytes_));
    reading_hdf5(path_, [&] { images_.read(all.data(), H5::PredType::NATIVE_UINT8); });
    memory_ = std::move(all);
  }

  void read_images(std::int64_t first, std::int64_t count, std::uint8_t* pixels) const {
    if (keep_) {
      std::memcpy(pixels, memory_.data() + first * image_bytes_, static_cast<std::size_t>(count * image_bytes_));
    } else {
      reading_hdf5(path_, [&] { read_rows(images_, first, count, pixels, H5::PredType::NATIVE_UINT8); });
    }
  }

  std::int64_t checked_label(std::int64_t sample) const {
    const std::int64_t label = labels_[static_cast<std::size_t>(sample)];
    if (label >= 0 && label < info_.classes) return label;
    throw UsageError(fmt::format("{}: the label of image {} is {}; it must be from 0 to {}", path_.string(), sample,
                                 label, info_.classes - 1));
  }

  fs::path path_;
  H5::DataSet images_;
  DatasetInfo info_;
  std::vector<std::int64_t> labels_;
  std::int64_t image_bytes_;
  bool keep_;
  std::vector<std::uint8_t> memory_;
};

class TokenDataset : public Dataset {
 public:
  TokenDataset(const fs::path& path, const H5::H5File& file, DatasetInfo info, std::int64_t context, Windows windows,
               std::int64_t in_memory_limit)
      : path_(path),
        tokens_(file.openDataSet("tokens")),
        info_(std::move(info)),
        context_(context),
        stride_(windows == Windows::fixed ? context : 1),
        keep_(info_.count <= in_memory_limit / static_cast<std::int64_t>(sizeof(std::int32_t))) {
    if (info_.masked) trained_ = marks(file, kTrainedArray);
    if (info_.documents) starts_ = marks(file, kStartsArray);
  }

  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return (info_.count - 1 - context_) / stride_ + 1; }
  std::int64_t memory_bytes() const override {
    const std::int64_t tokens = keep_ ? info_.count * static_cast<std::int64_t>(sizeof(std::int32_t)) : 0;
    return tokens + std::ssize(trained_) + std::ssize(starts_);
  }

  std::int64_t terms(std::span<const std::int64_t> samples) const override {
    if (!info_.masked) return std::ssize(samples) * context_;
    std::int64_t count = 0;
    for_each_run(samples, size(), path_, [&](std::int64_t, std::int64_t first, std::int64_t windows) {
      for (std::int64_t window = first; window < first + windows; ++window)
        count += context_ - std::count(targets_of(window), targets_of(window) + context_, 0);
    });
    return count;
  }

  Batch read(std::span<const std::int64_t> samples) override {
    if (keep_ && memory_.empty()) memory_ = read_tokens(0, info_.count);
    const auto count = static_cast<std::int64_t>(samples.size());
    Batch batch{at::empty({count, context_}, at::kLong), at::empty({count, context_}, at::kLong)};
    if (info_.documents) batch.positions = at::empty({count, context_}, at::kLong);
    for_each_run(samples, size(), path_, [&](std::int64_t at, std::int64_t first, std::int64_t windows) {
      const std::int64_t begin = first * stride_, length = (windows - 1) * stride_ + context_ + 1;
      std::vector<std::int32_t> read;
      if (!keep_) read = read_tokens(begin, length);
      const std::int32_t* tokens = keep_ ? memory_.data() + begin : read.data();
      check(tokens, begin, length, first, windows);
      for (std::int64_t window = 0; window < windows; ++window) {
        const std::int32_t* from = tokens + window * stride_;
        std::copy_n(from, context_, batch.input.mutable_data_ptr<std::int64_t>() + (at + window) * context_);
        std::int64_t* targets = batch.target.mutable_data_ptr<std::int64_t>() + (at + window) * context_;
        std::copy_n(from + 1, context_, targets);
        if (info_.masked) mask(targets, targets_of(first + window));
        if (info_.documents) count_positions(first + window, batch.positions[at + window]);
      }
    });
    return batch;
  }

 private:
  std::vector<std::uint8_t> marks(const H5::H5File& file, const char* name) const {
    std::vector<std::uint8_t> read(static_cast<std::size_t>(info_.count));
    file.openDataSet(name).read(read.data(), H5::PredType::NATIVE_UINT8);
    return read;
  }

  /// Of a document whose beginning the window does not hold, the window is the whole.
  void count_positions(std::int64_t window, const at::Tensor& positions) const {
    const std::uint8_t* starts = starts_.data() + window * stride_;
    auto* position = positions.mutable_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < context_; ++i) position[i] = i == 0 || starts[i] != 0 ? 0 : position[i - 1] + 1;
  }

  /// Of each target of a window: whether it is trained.
  const std::uint8_t* targets_of(std::int64_t window) const { return trained_.data() + window * stride_ + 1; }

  void mask(std::int64_t* targets, const std::uint8_t* trained) const {
    for (std::int64_t i = 0; i < context_; ++i) {
      if (trained[i] == 0) targets[i] = kUntrained;
    }
  }

  /// HDF5 converts to 32 bits and clips, so that what does not fit stays out of range.
  std::vector<std::int32_t> read_tokens(std::int64_t first, std::int64_t count) const {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
    reading_hdf5(path_, [&] { read_rows(tokens_, first, count, tokens.data(), H5::PredType::NATIVE_INT32); });
    return tokens;
  }

  void check(const std::int32_t* tokens, std::int64_t begin, std::int64_t length, std::int64_t first,
             std::int64_t windows) const {
    for (std::int64_t i = 0; i < length; ++i) {
      if (tokens[i] >= 0 && tokens[i] < info_.vocabulary) continue;
      throw UsageError(fmt::format("{}: token {} (in sample {}) is {}; it must be from 0 to {}", path_.string(),
                                   begin + i, first + std::min(i / stride_, windows - 1), tokens[i],
                                   info_.vocabulary - 1));
    }
  }

  fs::path path_;
  H5::DataSet tokens_;
  DatasetInfo info_;
  std::int64_t context_, stride_;
  bool keep_;
  std::vector<std::int32_t> memory_;
  std::vector<std::uint8_t> trained_;  // by token; empty: all are
  std::vector<std::uint8_t> starts_;   // by token; empty: documents are not kept apart
};

void require_a_window(const fs::path& path, const DatasetInfo& info, std::int64_t context) {
  if (context < 1) throw UsageError(fmt::format("a context of {} tokens; it must be at least 1", context));
  if (info.count <= context) {
    throw UsageError(fmt::format("{}: holds {} tokens; one window of context {} needs {}", path.string(), info.count,
                                 context, context + 1));
  }
}

}  // namespace

DatasetInfo read_dataset_info(const fs::path& path) { return read_info(open_hdf5(path), path); }

std::unique_ptr<Dataset> open_dataset(const fs::path& path, std::int64_t context, Windows windows,
                                      std::int64_t in_memory_limit) {
  const H5::H5File file = open_hdf5(path);
  DatasetInfo info = read_info(file, path);
  return reading_hdf5(path, [&]() -> std::unique_ptr<Dataset> {
    if (info.kind == DatasetInfo::Kind::images) {
      return std::make_unique<ImageDataset>(path, file, std::move(info), in_memory_limit);
    }
    require_a_window(path, info, context);
    return std::make_unique<TokenDataset>(path, file, std::move(info), context, windows, in_memory_limit);
  });
}

TokenizerRecord read_tokenizer(const fs::path& path) { return read_tokenizer(open_hdf5(path), path); }

std::unique_ptr<Dataset> open_dataset(const fs::path& path, std::int64_t context, Windows windows) {
  constexpr std::int64_t limit = std::int64_t{256} << 20;
  return open_dataset(path, context, windows, limit);
}

}  // namespace lshdp::data
