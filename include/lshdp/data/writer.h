// Writes data sets (HDF5; docs/design.md, "Files"), whole or not at all.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lshdp/data/tokenizer.h"

namespace lshdp::data {

/// Per channel, of pixels scaled to [0, 1]. A channel of one colour has deviation 1, because it is divided by.
struct Statistics {
  std::vector<double> mean, deviation;
};

/// Both writers write beside the final name; a writer destroyed before commit() leaves no file. Constructors throw
/// UsageError if no file can be made there, every function throws WriteError if the disk is full or fails.
class ImageWriter {
 public:
  struct Shape {
    std::int64_t count = 0, channels = 0, height = 0, width = 0;
  };
  ImageWriter(const std::filesystem::path& path, Shape shape);
  ~ImageWriter();
  ImageWriter(const ImageWriter&) = delete;
  ImageWriter& operator=(const ImageWriter&) = delete;
  /// Appends images: pixels [n, C, H, W], labels [n].
  void add(std::span<const std::uint8_t> pixels, std::span<const std::int64_t> labels);
  /// So many of the `count` images will not be added.
  void leave_out(std::int64_t images);
  /// Once `count` images have been added. Stores their own statistics unless others are given.
  void commit(const std::vector<std::string>& class_names, const std::string& source,
              const std::optional<Statistics>& statistics = {});

 private:
  class File;
  std::unique_ptr<File> file_;
};

/// What a data set says of its tokens, one byte each, 0 or 1.
struct TokenMarks {
  std::span<const std::uint8_t> trained = {};  // whether it counts in the loss; empty: all do
  std::span<const std::uint8_t> starts = {};   // whether a document begins with it; empty: they are not told apart
};

class TokenWriter {
 public:
  /// Which marks add() is given with every token.
  struct Marked {
    bool trained = false, starts = false;
  };
  TokenWriter(const std::filesystem::path& path, std::int64_t count, std::int64_t vocabulary);
  TokenWriter(const std::filesystem::path& path, std::int64_t count, std::int64_t vocabulary, const Marked& marked);
  ~TokenWriter();
  TokenWriter(const TokenWriter&) = delete;
  TokenWriter& operator=(const TokenWriter&) = delete;
  void add(std::span<const std::uint32_t> tokens, const TokenMarks& marks = {});
  /// Once `count` tokens have been added. The data set carries its tokenizer, so that training and generation need no
  /// other files.
  void commit(const TokenizerRecord& tokenizer, const std::string& source, std::int64_t padded_to = 0);

 private:
  class File;
  std::unique_ptr<File> file_;
};

}  // namespace lshdp::data
