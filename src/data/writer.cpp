// Data sets written through HDF5 under a temporary name; a failed write leaves no file and one clear error.
#include "lshdp/data/writer.h"

#include <algorithm>
#include <cmath>

#include <H5Cpp.h>
#include <fmt/format.h>

#include "hdf5_file.h"
#include "lshdp/data/hdf5_output.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

/// Appends `count` rows of the shape that `array` has.
void append_rows(const H5::DataSet& array, std::int64_t first, std::size_t count, const void* values,
                 const H5::PredType& type) {
  const H5::DataSpace file_space = array.getSpace();
  std::vector<hsize_t> start(static_cast<std::size_t>(file_space.getSimpleExtentNdims())), shape(start.size());
  file_space.getSimpleExtentDims(shape.data());
  start[0] = static_cast<hsize_t>(first);
  shape[0] = count;
  file_space.selectHyperslab(H5S_SELECT_SET, shape.data(), start.data());
  array.write(values, type, H5::DataSpace(static_cast<int>(shape.size()), shape.data()), file_space);
}

void require_complete(std::int64_t added, std::int64_t count) {
  if (added != count) throw std::logic_error(fmt::format("{} items were added, {} announced", added, count));
}

/// Sums of pixels and of their squares, exact in integers.
class PixelSums {
 public:
  PixelSums(std::int64_t channels, std::int64_t plane)
      : plane_(static_cast<std::size_t>(plane)), sums_(static_cast<std::size_t>(channels)), squares_(sums_.size()) {}

  void add(std::span<const std::uint8_t> pixels) {
    for (std::size_t at = 0, channel = 0; at < pixels.size(); at += plane_, channel = (channel + 1) % sums_.size()) {
      for (const std::uint64_t pixel : pixels.subspan(at, plane_)) {
        sums_[channel] += pixel;
        squares_[channel] += pixel * pixel;
      }
    }
  }

  Statistics statistics(std::int64_t images) const {
    Statistics result;
    const double count = static_cast<double>(images) * static_cast<double>(plane_);
    for (std::size_t c = 0; c < sums_.size(); ++c) {
      const double mean = static_cast<double>(sums_[c]) / count;
      const double variance = static_cast<double>(squares_[c]) / count - mean * mean;
      result.mean.push_back(mean / 255);
      result.deviation.push_back(variance > 1e-9 ? std::sqrt(variance) / 255 : 1.0);
    }
    return result;
  }

 private:
  std::size_t plane_;
  std::vector<std::uint64_t> sums_, squares_;
};

/// Small images share a chunk, because every chunk costs an entry in the file's index and an access.
std::vector<hsize_t> image_chunk(const ImageWriter::Shape& shape) {
  constexpr std::int64_t bytes = 32 << 10;
  const std::int64_t images =
      std::clamp<std::int64_t>(bytes / (shape.channels * shape.height * shape.width), 1, shape.count);
  return {static_cast<hsize_t>(images), static_cast<hsize_t>(shape.channels), static_cast<hsize_t>(shape.height),
          static_cast<hsize_t>(shape.width)};
}

std::vector<hsize_t> dimensions(const ImageWriter::Shape& shape) {
  return {static_cast<hsize_t>(shape.count), static_cast<hsize_t>(shape.channels), static_cast<hsize_t>(shape.height),
          static_cast<hsize_t>(shape.width)};
}

const H5::PredType& token_type(std::int64_t vocabulary) {
  if (vocabulary <= 1 << 8) return H5::PredType::STD_U8LE;
  return vocabulary <= 1 << 16 ? H5::PredType::STD_U16LE : H5::PredType::STD_U32LE;
}

}  // namespace

class ImageWriter::File {
 public:
  File(const fs::path& path, const Shape& shape)
      : shape_(shape), sums_(shape.channels, shape.height * shape.width), file_(path) {
    file_.guarded(
        [&] { images_ = &file_.create("images", H5::PredType::STD_U8LE, dimensions(shape_), image_chunk(shape_)); });
  }

  void add(std::span<const std::uint8_t> pixels, std::span<const std::int64_t> labels) {
    if (labels.empty()) return;
    file_.guarded([&] { append_rows(*images_, added_, labels.size(), pixels.data(), H5::PredType::NATIVE_UINT8); });
    labels_.insert(labels_.end(), labels.begin(), labels.end());
    sums_.add(pixels);
    added_ += static_cast<std::int64_t>(labels.size());
  }

  void leave_out(std::int64_t images) {
    if (images == 0) return;
    shape_.count -= images;
    const std::vector<hsize_t> shape = dimensions(shape_);
    file_.guarded([&] {
      if (H5Dset_extent(images_->getId(), shape.data()) < 0) throw H5::DataSetIException("leave_out", "cannot shrink");
    });
  }

  void commit(const std::vector<std::string>& class_names, const std::string& source,
              const std::optional<Statistics>& statistics) {
    require_complete(added_, shape_.count);
    write_labels();
    const Statistics stored = statistics.value_or(sums_.statistics(shape_.count));
    file_.guarded([&] {
      file_.describe("class_names", class_names);
      file_.describe("mean", stored.mean);
      file_.describe("deviation", stored.deviation);
      file_.describe("source", source);
    });
    file_.commit();
  }

 private:
  /// At the end, when it is known how many there are.
  void write_labels() {
    file_.guarded([&] {
      file_.create("labels", H5::PredType::STD_I64LE, {labels_.size()}, {})
          .write(labels_.data(), H5::PredType::NATIVE_INT64);
    });
  }

  Shape shape_;
  PixelSums sums_;
  std::int64_t added_ = 0;
  std::vector<std::int64_t> labels_;
  Hdf5Output file_;
  H5::DataSet* images_ = nullptr;
};

ImageWriter::ImageWriter(const fs::path& path, Shape shape) : file_(std::make_unique<File>(path, shape)) {}
ImageWriter::~ImageWriter() = default;

void ImageWriter::add(std::span<const std::uint8_t> pixels, std::span<const std::int64_t> labels) {
  file_->add(pixels, labels);
}

void ImageWriter::leave_out(std::int64_t images) { file_->leave_out(images); }

void ImageWriter::commit(const std::vector<std::string>& class_names, const std::string& source,
                         const std::optional<Statistics>& statistics) {
  file_->commit(class_names, source, statistics);
}

class TokenWriter::File {
 public:
  File(const fs::path& path, std::int64_t count, std::int64_t vocabulary, const Marked& marked)
      : count_(count), vocabulary_(vocabulary), file_(path) {
    const std::vector<hsize_t> shape{static_cast<hsize_t>(count)};
    file_.guarded([&] {
      tokens_ = &file_.create("tokens", token_type(vocabulary), shape, {});
      if (marked.trained) trained_ = &file_.create(kTrainedArray, H5::PredType::STD_U8LE, shape, {});
      if (marked.starts) starts_ = &file_.create(kStartsArray, H5::PredType::STD_U8LE, shape, {});
    });
  }

  void add(std::span<const std::uint32_t> tokens, const TokenMarks& marks) {
    if (tokens.empty()) return;
    file_.guarded([&] {
      append_rows(*tokens_, added_, tokens.size(), tokens.data(), H5::PredType::NATIVE_UINT32);
      append_marks(trained_, tokens.size(), marks.trained);
      append_marks(starts_, tokens.size(), marks.starts);
    });
    added_ += static_cast<std::int64_t>(tokens.size());
  }

  void commit(const TokenizerRecord& tokenizer, const std::string& source, std::int64_t padded_to) {
    require_complete(added_, count_);
    file_.guarded([&] {
      file_.describe("vocabulary", vocabulary_);
      if (padded_to > 0) file_.describe(kPaddedTo, padded_to);
      file_.describe("tokenizer", tokenizer.name);
      file_.describe("tokenizer_checksum", tokenizer.checksum);
      file_.embed(kVocabularyArray, tokenizer.vocabulary_json);
      file_.embed(kMergesArray, tokenizer.merges_text);
      file_.embed(kTokenizerArray, tokenizer.tokenizer_json);
      file_.describe("source", source);
    });
    file_.commit();
  }

 private:
  void append_marks(const H5::DataSet* array, std::size_t tokens, std::span<const std::uint8_t> marks) const {
    if (marks.size() != (array != nullptr ? tokens : 0)) throw std::logic_error("a mark for each token, or for none");
    if (array != nullptr) append_rows(*array, added_, marks.size(), marks.data(), H5::PredType::NATIVE_UINT8);
  }

  std::int64_t count_, vocabulary_;
  std::int64_t added_ = 0;
  Hdf5Output file_;
  H5::DataSet* tokens_ = nullptr;
  H5::DataSet *trained_ = nullptr, *starts_ = nullptr;  // null: there are no such marks
};

TokenWriter::TokenWriter(const fs::path& path, std::int64_t count, std::int64_t vocabulary)
    : TokenWriter(path, count, vocabulary, Marked()) {}
TokenWriter::TokenWriter(const fs::path& path, std::int64_t count, std::int64_t vocabulary, const Marked& marked)
    : file_(std::make_unique<File>(path, count, vocabulary, marked)) {}
TokenWriter::~TokenWriter() = default;

void TokenWriter::add(std::span<const std::uint32_t> tokens, const TokenMarks& marks) { file_->add(tokens, marks); }

void TokenWriter::commit(const TokenizerRecord& tokenizer, const std::string& source, std::int64_t padded_to) {
  file_->commit(tokenizer, source, padded_to);
}

}  // namespace lshdp::data
