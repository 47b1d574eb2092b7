// Data sets written through HDF5 under a temporary name; a failed write leaves no file and one clear error.
#include "lshdp/data/writer.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <deque>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hdf5_file.h"
#include "lshdp/core/file.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

void require_creatable(const fs::path& temporary, const fs::path& path) {
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    const WriteError error(path.string(), errno);
    if (error.exit_code() == 1) throw error;
    throw UsageError(fmt::format("cannot create {}: {}", path.string(), std::strerror(errno)));
  }
  ::close(descriptor);
}

/// Attributes may be larger than 64 KiB (many class names) only from format 1.8 on. Nobody else knows the temporary
/// name, so no lock is needed, which some file systems do not have.
H5::FileAccPropList access() {
  H5::FileAccPropList list;
  H5Pset_file_locking(list.getId(), /*use_file_locking=*/0, /*ignore_when_disabled=*/1);
  list.setLibverBounds(H5F_LIBVER_V18, H5F_LIBVER_LATEST);
  return list;
}

/// The part of HDF5's message a person needs.
std::string readable(const std::string& cause) {
  const std::string message = system_message(cause);
  return message.empty() ? cause : message;
}

/// HDF5 cannot let go of a file whose last write failed: closing would write again, fail again, and so on until the
/// process ends. So its descriptor is pointed at anonymous memory, where what is left in its caches can go; a limit on
/// the size of files, which may be why the write failed, must not stop that.
void redirect_to_memory(int descriptor) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  const int memory = ::memfd_create("discarded", MFD_CLOEXEC);
  if (memory < 0) return;
  ::dup2(memory, descriptor);
  ::close(memory);
}

/// An HDF5 file under a temporary name.
class NewFile {
 public:
  explicit NewFile(const fs::path& path) : path_(path), temporary_(path.string() + ".tmp") {
    require_creatable(temporary_, path_);
    guarded([&] { file_ = H5::H5File(temporary_.string(), H5F_ACC_TRUNC, H5::FileCreatPropList::DEFAULT, access()); });
  }

  ~NewFile() { discard(); }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  /// Runs `write`; an error of HDF5 discards the file and becomes a WriteError.
  template <typename Write>
  void guarded(Write write) {
    const Hdf5Cause cause;
    try {
      write();
    } catch (const H5::Exception& error) {
      discard();
      const std::string text = cause.text().empty() ? error.getDetailMsg() : readable(cause.text());
      throw WriteError(path_.string(), text);
    }
  }

  /// The array lives as long as this object.
  H5::DataSet& create(const char* name, const H5::PredType& type, const std::vector<hsize_t>& shape,
                      const std::vector<hsize_t>& chunk) {
    H5::DSetCreatPropList layout;
    if (!chunk.empty()) layout.setChunk(static_cast<int>(chunk.size()), chunk.data());
    const H5::DataSpace space(static_cast<int>(shape.size()), shape.data());
    return arrays_.emplace_back(file_.createDataSet(name, type, space, layout));
  }

  void describe(const char* name, const std::string& text) { describe(name, std::vector<std::string>{text}, true); }

  void describe(const char* name, const std::vector<std::string>& texts, bool scalar = false) {
    if (texts.empty()) return;
    H5::StrType type(H5::PredType::C_S1, H5T_VARIABLE);
    type.setCset(H5T_CSET_UTF8);
    std::vector<const char*> pointers;
    for (const std::string& text : texts) pointers.push_back(text.c_str());
    const hsize_t count = texts.size();
    const H5::DataSpace space = scalar ? H5::DataSpace(H5S_SCALAR) : H5::DataSpace(1, &count);
    file_.createAttribute(name, type, space).write(type, pointers.data());
  }

  void describe(const char* name, const std::vector<double>& numbers) {
    const hsize_t count = numbers.size();
    file_.createAttribute(name, H5::PredType::IEEE_F64LE, H5::DataSpace(1, &count))
        .write(H5::PredType::NATIVE_DOUBLE, numbers.data());
  }

  void describe(const char* name, std::int64_t number) {
    file_.createAttribute(name, H5::PredType::STD_I64LE, H5::DataSpace(H5S_SCALAR))
        .write(H5::PredType::NATIVE_INT64, &number);
  }

  /// Flushes while all handles are open, so that what fails, fails here; then closes them and gives the file its name.
  void commit() {
    guarded([&] {
      file_.flush(H5F_SCOPE_LOCAL);
      close();
    });
    finished_ = true;
    commit_file(temporary_, path_);
  }

 private:
  /// The file is really closed with its last array; an array's handle is gone even if closing it failed, the file's is
  /// not.
  void close() {
    file_.close();
    for (H5::DataSet& array : arrays_) array.close();
  }

  void discard() {
    if (finished_) return;
    finished_ = true;
    const Hdf5Cause silent;
    void* descriptor = nullptr;
    if (file_.getId() > 0 && H5Fget_vfd_handle(file_.getId(), H5P_DEFAULT, &descriptor) >= 0) {
      redirect_to_memory(*static_cast<int*>(descriptor));
    }
    std::error_code ignored;
    fs::remove(temporary_, ignored);
    try {
      close();
    } catch (const H5::Exception&) {
      // What made us discard the file is being reported; that closing it failed as well is no news.
    }
  }

  fs::path path_, temporary_;
  H5::H5File file_;
  std::deque<H5::DataSet> arrays_;
  bool finished_ = false;
};

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
  NewFile file_;
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
  File(const fs::path& path, std::int64_t count, std::int64_t vocabulary)
      : count_(count), vocabulary_(vocabulary), file_(path) {
    file_.guarded(
        [&] { tokens_ = &file_.create("tokens", token_type(vocabulary), {static_cast<hsize_t>(count)}, {}); });
  }

  void add(std::span<const std::uint32_t> tokens) {
    if (tokens.empty()) return;
    file_.guarded([&] { append_rows(*tokens_, added_, tokens.size(), tokens.data(), H5::PredType::NATIVE_UINT32); });
    added_ += static_cast<std::int64_t>(tokens.size());
  }

  void commit(const std::string& tokenizer, const std::string& source) {
    require_complete(added_, count_);
    file_.guarded([&] {
      file_.describe("vocabulary", vocabulary_);
      file_.describe("tokenizer", tokenizer);
      file_.describe("source", source);
    });
    file_.commit();
  }

 private:
  std::int64_t count_, vocabulary_;
  std::int64_t added_ = 0;
  NewFile file_;
  H5::DataSet* tokens_ = nullptr;
};

TokenWriter::TokenWriter(const fs::path& path, std::int64_t count, std::int64_t vocabulary)
    : file_(std::make_unique<File>(path, count, vocabulary)) {}
TokenWriter::~TokenWriter() = default;

void TokenWriter::add(std::span<const std::uint32_t> tokens) { file_->add(tokens); }

void TokenWriter::commit(const std::string& tokenizer, const std::string& source) { file_->commit(tokenizer, source); }

}  // namespace lshdp::data
