// What data sets in HDF5 files hold.
#pragma once
#include <filesystem>
#include <string>

#include <H5Cpp.h>

#include "lshdp/data/dataset.h"
#include "lshdp/data/hdf5_input.h"

namespace lshdp::data {

/// Where a token data set keeps the files of its tokenizer: the two of GPT-2's, or the one that says all.
inline constexpr const char *kVocabularyArray = "tokenizer_vocab.json", *kMergesArray = "tokenizer_merges.txt",
                            *kTokenizerArray = "tokenizer.json";

/// Where it says which tokens are trained: one byte a token, 0 or 1; all are without it.
inline constexpr const char* kTrainedArray = "trained";
/// Where it says which tokens documents begin with, in the same way, if they are to be kept apart.
inline constexpr const char* kStartsArray = "document_starts";
/// The attribute of DatasetInfo::padded_to.
inline constexpr const char* kPaddedTo = "padded_to";

/// What the arrays and attributes of an open file say, checked for shape and type; `classes` is 0 where there are no
/// class names. Throws UsageError.
DatasetInfo read_info(const H5::H5File& file, const std::filesystem::path& path);

/// Reads rows [first, first + count) of `array`, as `type`, into `values`. Throws H5::Exception.
void read_rows(const H5::DataSet& array, std::int64_t first, std::int64_t count, void* values,
               const H5::PredType& type);

/// The tokenizer of a token data set, with its files if the data set carries them. Throws UsageError.
TokenizerRecord read_tokenizer(const H5::H5File& file, const std::filesystem::path& path);

/// All labels. Throws UsageError.
std::vector<std::int64_t> read_labels(const H5::H5File& file, const std::filesystem::path& path);

}  // namespace lshdp::data
