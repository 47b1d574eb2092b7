// What tells one data set from another, for runs and nodes that must read the same.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "lshdp/data/dataset.h"

namespace lshdp::data {

/// What a data set says of itself, and a checksum of what its arrays hold now.
struct DatasetIdentity {
  DatasetInfo info;
  std::string checksum = {};  // of sizes and values, whatever type and layout the file stores them in
  bool sampled = false;       // a large set: the checksum is of blocks at fixed places, and of all labels
};

/// Reads the arrays of an HDF5 data set: all of them up to `whole_bytes`, 64 MiB of larger ones. About a second from
/// the page cache. Two files with the same values have the same checksum. Throws UsageError as open_dataset does.
DatasetIdentity identity_of(const std::filesystem::path& path, std::int64_t whole_bytes = std::int64_t{512} << 20);

/// {"kind", "count", "shape" (images), "class_names", "mean", "deviation", "vocabulary", "tokenizer",
/// "tokenizer_checksum", "source", "checksum", "sampled"}, without those that the kind does not have.
nlohmann::json to_json(const DatasetIdentity& identity);

/// "1,000 images of 3 x 32 x 32" or "801 tokens".
std::string describe_size(const DatasetInfo& info);

}  // namespace lshdp::data
