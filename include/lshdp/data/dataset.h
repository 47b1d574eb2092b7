// Dataset: numbered samples of images or tokens, read by number.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/data/tokenizer.h"

namespace lshdp::data {

/// What a data set holds.
struct DatasetInfo {
  enum class Kind : std::uint8_t { images, tokens } kind = Kind::images;
  std::int64_t count = 0;  // images, or tokens
  std::int64_t channels = 0, height = 0, width = 0, classes = 0;
  std::vector<std::string> class_names;  // may be empty
  std::vector<double> mean, deviation;   // per channel, of pixels scaled to [0, 1]
  std::int64_t vocabulary = 0;
  bool masked = false;             // not all tokens are trained: the file says which
  bool documents = false;          // documents that share a sample are kept apart: the file says where they begin
  std::int64_t padded_to = 0;      // tokens: each document fills samples of so many; 0: they just follow each other
  std::string tokenizer;           // TokenizerRecord::name
  std::string tokenizer_checksum;  // of what its files mean; empty for bytes and where it is not known
  std::string source;              // where it came from, for people
};

/// What a file holds, without its samples. Throws UsageError as open_dataset does.
DatasetInfo read_dataset_info(const std::filesystem::path& path);

/// In place of a target that counts in no loss, as in PyTorch.
inline constexpr std::int64_t kUntrained = -100;

/// Samples of one step for one rank. images: input uint8 [B, C, H, W], target int64 [B]; tokens: input int64 [B, T],
/// target int64 [B, T], the input shifted by one, kUntrained where the token is not trained.
struct Batch {
  at::Tensor input, target;
  at::Tensor positions = {};  // with DatasetInfo::documents: int64 [B, T], of each token in its document, from 0
  std::int64_t samples() const { return input.defined() ? input.size(0) : 0; }
};

/// Numbered samples. One thread at a time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual const DatasetInfo& info() const = 0;
  /// Samples: images, or windows of the context length.
  virtual std::int64_t size() const = 0;
  /// Bytes that it holds in memory, beside tensors, once samples were read.
  virtual std::int64_t memory_bytes() const = 0;
  /// How many terms of the loss these samples have: images, or tokens that are trained. May be called beside read().
  /// Throws UsageError as read().
  virtual std::int64_t terms(std::span<const std::int64_t> samples) const = 0;
  /// The samples with these numbers, in this order. Throws UsageError if the file turns out to be damaged, or a label
  /// or token is out of range (naming the sample).
  virtual Batch read(std::span<const std::int64_t> samples) = 0;
};

/// Where the samples of a token data set begin.
enum class Windows : std::uint8_t {
  fixed,     // sample i at token i * context: they follow each other
  anywhere,  // sample i at token i
};

/// Opens an HDF5 data set (docs/design.md, "Files"). For tokens, a sample is `context` tokens and the one after them,
/// for the target; `context` and `windows` are ignored for images. Throws UsageError: not HDF5, truncated, no known
/// arrays, wrong shape or type, images and labels of different number, empty, shorter than one window.
std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& path, std::int64_t context,
                                      Windows windows = Windows::fixed);

/// The tokenizer of a token data set, with its files if the data set carries them. Throws UsageError.
TokenizerRecord read_tokenizer(const std::filesystem::path& path);

/// As above; images or tokens (4 bytes each) of up to `in_memory_limit` bytes are read whole at the first read() and
/// kept, larger ones are read sample by sample. Above: 256 MiB.
std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& path, std::int64_t context, Windows windows,
                                      std::int64_t in_memory_limit);

}  // namespace lshdp::data
