// Checksums of data sets: over the arrays, because what an attribute says need not be what the file holds now.
#include "lshdp/data/identity.h"

#include <algorithm>
#include <limits>
#include <set>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "hdf5_file.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"
#include "random.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlockBytes = 256 << 10;
constexpr std::int64_t kSampledBlocks = 256;

/// The rows of an array as blocks of about kBlockBytes.
struct Blocks {
  std::int64_t rows = 0, row_bytes = 0;
  std::int64_t rows_each() const { return std::max<std::int64_t>(1, kBlockBytes / row_bytes); }
  std::int64_t count() const { return (rows - 1) / rows_each() + 1; }
};

void add_block(Checksum& checksum, const H5::DataSet& array, const Blocks& blocks, std::int64_t block,
               const H5::PredType& type, std::vector<std::byte>& buffer) {
  const std::int64_t first = block * blocks.rows_each(), rows = std::min(blocks.rows_each(), blocks.rows - first);
  buffer.resize(static_cast<std::size_t>(rows * blocks.row_bytes));
  read_rows(array, first, rows, buffer.data(), type);
  checksum.add(buffer);
}

/// All blocks, or `kSampledBlocks` of them: the first, the last, and others that depend on nothing but the sizes.
std::set<std::int64_t> chosen_blocks(const Blocks& blocks, bool sampled) {
  std::set<std::int64_t> chosen;
  if (!sampled) {
    for (std::int64_t block = 0; block < blocks.count(); ++block) chosen.insert(chosen.end(), block);
    return chosen;
  }
  chosen = {0, blocks.count() - 1};
  KeyedRandom random(static_cast<std::uint64_t>(blocks.rows), static_cast<std::uint64_t>(blocks.row_bytes));
  while (static_cast<std::int64_t>(chosen.size()) < std::min(kSampledBlocks, blocks.count()))
    chosen.insert(static_cast<std::int64_t>(random.next() % static_cast<std::uint64_t>(blocks.count())));
  return chosen;
}

/// Adds sizes and values; true if only a sample of the values was read.
bool add_array(Checksum& checksum, const H5::DataSet& array, std::int64_t rows, std::int64_t row_bytes,
               const H5::PredType& type, std::int64_t whole_bytes) {
  const Blocks blocks{rows, row_bytes};
  const std::int64_t sizes[] = {rows, row_bytes};
  checksum.add(std::as_bytes(std::span(sizes)));
  const bool sampled = rows > whole_bytes / row_bytes && blocks.count() > kSampledBlocks;
  std::vector<std::byte> buffer;
  for (const std::int64_t block : chosen_blocks(blocks, sampled))
    add_block(checksum, array, blocks, block, type, buffer);
  return sampled;
}

}  // namespace

DatasetIdentity identity_of(const fs::path& path, std::int64_t whole_bytes) {
  const H5::H5File file = open_hdf5(path);
  DatasetIdentity identity{.info = read_info(file, path)};
  const DatasetInfo& info = identity.info;
  Checksum checksum;
  reading_hdf5(path, [&] {
    if (info.kind == DatasetInfo::Kind::tokens) {
      identity.sampled = add_array(checksum, file.openDataSet("tokens"), info.count, sizeof(std::int32_t),
                                   H5::PredType::NATIVE_INT32, whole_bytes);
      if (info.masked)
        add_array(checksum, file.openDataSet(kTrainedArray), info.count, 1, H5::PredType::NATIVE_UINT8,
                  std::numeric_limits<std::int64_t>::max());
      if (info.documents)
        add_array(checksum, file.openDataSet(kStartsArray), info.count, 1, H5::PredType::NATIVE_UINT8,
                  std::numeric_limits<std::int64_t>::max());
    } else {
      identity.sampled = add_array(checksum, file.openDataSet("images"), info.count,
                                   info.channels * info.height * info.width, H5::PredType::NATIVE_UINT8, whole_bytes);
      add_array(checksum, file.openDataSet("labels"), info.count, sizeof(std::int64_t), H5::PredType::NATIVE_INT64,
                std::numeric_limits<std::int64_t>::max());
    }
  });
  identity.checksum = checksum.text();
  return identity;
}

nlohmann::json to_json(const DatasetIdentity& identity) {
  const DatasetInfo& info = identity.info;
  Json json{
      {"count", info.count}, {"source", info.source}, {"checksum", identity.checksum}, {"sampled", identity.sampled}};
  if (info.kind == DatasetInfo::Kind::tokens) {
    json.update({{"kind", "tokens"},
                 {"vocabulary", info.vocabulary},
                 {"tokenizer", info.tokenizer},
                 {"tokenizer_checksum", info.tokenizer_checksum}});
    return json;
  }
  json.update({{"kind", "images"},
               {"shape", {info.channels, info.height, info.width}},
               {"class_names", info.class_names},
               {"mean", info.mean},
               {"deviation", info.deviation}});
  return json;
}

std::string describe_size(const DatasetInfo& info) {
  if (info.kind == DatasetInfo::Kind::tokens) return format_count(info.count) + " tokens";
  return fmt::format("{} images of {} x {} x {}", format_count(info.count), info.channels, info.height, info.width);
}

}  // namespace lshdp::data
