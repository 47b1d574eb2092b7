// Folders of image files, one per class, as a data set: decoded on all cores, written in order.
#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "class_folders.h"
#include "image.h"
#include "image_output.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/log.h"
#include "lshdp/core/progress.h"
#include "lshdp/core/text.h"
#include "lshdp/data/converters.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

void require_possible(const FolderOptions& options) {
  if (options.channels != 1 && options.channels != 3)
    throw UsageError(fmt::format("{} channels; choose 1 (grey) or 3 (RGB)", options.channels));
  if (options.size < 0) throw UsageError(fmt::format("an image size of {}; it must be at least 1", options.size));
  if (options.shorter == 0) return;
  if (options.size == 0) throw UsageError("--shorter needs --size, the square to cut out of the middle");
  if (options.shorter < options.size)
    throw UsageError(
        fmt::format("--shorter {} is less than --size {}: the square would not fit", options.shorter, options.size));
}

/// A file as the data set takes it, or what is wrong with it.
struct Loaded {
  Image image;
  bool square = true;  // before it was resized
  std::string damage;
  std::exception_ptr error;
};

Image fitted(const Image& image, const FolderOptions& options) {
  if (options.size == 0) return image;
  return options.shorter > 0 ? centre_crop(image, options.shorter, options.size)
                             : resized(image, options.size, options.size);
}

Loaded load(const ImageFile& file, const FolderOptions& options) {
  try {
    const Image image = decode_image(read_file(file.path), file.path.string(), static_cast<int>(options.channels));
    return {fitted(image, options), image.height == image.width, {}, {}};
  } catch (const ImageError& error) {
    return {{}, true, error.cause(), {}};
  } catch (...) {
    return {{}, true, {}, std::current_exception()};
  }
}

/// Files [begin, begin + count), on all cores. LibTorch's own team of threads would wait spinning for the slowest of
/// each few images, so each of these stays alone.
std::vector<Loaded> load_block(const std::vector<ImageFile>& files, std::size_t begin, std::size_t count,
                               const FolderOptions& options) {
  std::vector<Loaded> block(count);
  std::atomic<std::size_t> next{0};
  const int threads = at::get_num_threads();
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < threads; ++i) {
      workers.emplace_back([&] {
        at::set_num_threads(1);
        for (std::size_t k = next++; k < count; k = next++) block[k] = load(files[begin + k], options);
      });
    }
  }
  at::set_num_threads(threads);  // the number is also that of threads that come later
  return block;
}

/// Writes images in order, and keeps count of what a user should know.
class FolderConversion {
 public:
  FolderConversion(const FolderOptions& options, const ImageOutput& output, const std::vector<ImageFile>& files)
      : options_(options), output_(output), files_(files) {}

  void run() {
    const auto block_size = static_cast<std::size_t>(4 * at::get_num_threads());
    Progress progress("decoding images", static_cast<std::int64_t>(files_.size()), options_.show_progress);
    for (std::size_t begin = 0; begin < files_.size(); begin += block_size) {
      const std::size_t count = std::min(block_size, files_.size() - begin);
      std::vector<Loaded> block = load_block(files_, begin, count, options_);
      for (std::size_t i = 0; i < count; ++i) add(block[i], files_[begin + i]);
      progress.update(static_cast<std::int64_t>(begin + count));
    }
  }

  void commit(const std::vector<std::string>& class_names, const std::string& source) {
    if (options_.damaged_list) write_file(*options_.damaged_list, damaged_);
    if (!writer_) throw UsageError(fmt::format("none of the {} images can be decoded", files_.size()));
    writer_->leave_out(damaged_count_);
    writer_->commit(class_names, source, output_.statistics);
    say_what_happened();
  }

 private:
  void add(const Loaded& loaded, const ImageFile& file) {
    if (loaded.error) std::rethrow_exception(loaded.error);
    if (!loaded.damage.empty()) return add_damaged(loaded.damage, file);
    const Image& image = loaded.image;
    if (!writer_) begin(image, file);
    require_same_size(image, file);
    if (!loaded.square) ++not_square_;
    if (image.had_16_bits) ++had_16_bits_;
    writer_->add(image.pixels, std::vector<std::int64_t>{file.label});
  }

  void add_damaged(const std::string& cause, const ImageFile& file) {
    if (!options_.damaged_list)
      throw UsageError(fmt::format("{}: {}; --skip-damaged LIST leaves such files out", file.path.string(), cause));
    damaged_ += fmt::format("{}\t{}\n", printable(file.path.string()), printable(cause));
    ++damaged_count_;
  }

  void begin(const Image& image, const ImageFile& file) {
    first_ = {image.channels, image.height, image.width, {}};
    first_file_ = file.path;
    writer_.emplace(output_.path, ImageWriter::Shape{static_cast<std::int64_t>(files_.size()), image.channels,
                                                     image.height, image.width});
  }

  void require_same_size(const Image& image, const ImageFile& file) const {
    if (image.height == first_.height && image.width == first_.width) return;
    throw UsageError(fmt::format("{} is {} x {}, but {} is {} x {}; give --size S to resize all", file.path.string(),
                                 image.width, image.height, first_file_.string(), first_.width, first_.height));
  }

  void say_what_happened() const {
    if (not_square_ > 0 && options_.size > 0 && options_.shorter == 0) {
      spdlog::warn(
          "{} of {} images are not square and were squeezed to {} x {}; --shorter R keeps their shape and "
          "cuts out the middle",
          format_count(not_square_), format_count(static_cast<std::int64_t>(files_.size())), options_.size,
          options_.size);
    }
    if (had_16_bits_ > 0)
      spdlog::info("{} images have 16 bits a value; the upper 8 are kept", format_count(had_16_bits_));
    if (damaged_count_ > 0) {
      spdlog::warn("{} of {} images were left out; {} names them and why", format_count(damaged_count_),
                   format_count(static_cast<std::int64_t>(files_.size())), printable(options_.damaged_list->string()));
    }
  }

  const FolderOptions& options_;
  const ImageOutput& output_;
  const std::vector<ImageFile>& files_;
  Image first_;
  fs::path first_file_;
  std::optional<ImageWriter> writer_;
  std::string damaged_;
  std::int64_t damaged_count_ = 0, not_square_ = 0, had_16_bits_ = 0;
};

/// Also of "photos/" and ".".
std::string name_of(const fs::path& folder) {
  const fs::path whole = fs::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

std::vector<fs::path> paths_of(const std::vector<ImageFile>& files) {
  std::vector<fs::path> paths;
  for (const ImageFile& file : files) paths.push_back(file.path);
  return paths;
}

}  // namespace

void convert_image_folder(const fs::path& folder, const FolderOptions& options, const ImageOutput& output) {
  require_possible(options);
  const LabelledFiles found = find_labelled_files(folder, options, output.class_names);
  const std::vector<fs::path> paths = paths_of(found.files);
  require_fitting_output(output, options.channels, paths);
  if (options.damaged_list) {
    refuse_overwriting("--skip-damaged", *options.damaged_list, paths);
    refuse_overwriting("--skip-damaged", *options.damaged_list, output.option_files);
    if (fs::absolute(*options.damaged_list).lexically_normal() == fs::absolute(output.path).lexically_normal())
      throw UsageError(fmt::format("--skip-damaged and --out both name {}", output.path.string()));
  }
  FolderConversion conversion(options, output, found.files);
  conversion.run();
  conversion.commit(found.class_names, fmt::format("images of {}", printable(name_of(folder))));
}

}  // namespace lshdp::data
