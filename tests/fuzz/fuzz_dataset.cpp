// Readers of data sets: HDF5 files of any content.
#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "hdf5_content.h"
#include "lshdp/data/converters.h"
#include "lshdp/data/dataset.h"
#include "lshdp/data/identity.h"
#include "reader.h"
#include "scratch_file.h"

namespace lshdp::test {
namespace {

using data::Windows;

std::vector<Json> image_sets() {
  return {{{{"array", "images"}, {"type", "u8"}, {"shape", {3, 1, 2, 2}}, {"value", 7}, {"written", true}},
           {{"array", "labels"}, {"type", "i64"}, {"shape", {3}}, {"value", 1}, {"written", true}},
           {{"attribute", "mean"}, {"of", "/"}, {"type", "f64"}, {"shape", {1}}, {"value", 0.5}},
           {{"attribute", "deviation"}, {"of", "/"}, {"type", "f64"}, {"shape", {1}}, {"value", 0.25}},
           {{"attribute", "class_names"}, {"of", "/"}, {"type", "text"}, {"shape", {2}}, {"value", "cat"}},
           {{"attribute", "source"}, {"of", "/"}, {"type", "text"}}}};
}

/// Without and with a tokenizer's files and tokens that are not trained, of documents that are kept apart.
std::vector<Json> token_sets() {
  const Json plain = {{{"array", "tokens"}, {"type", "u16"}, {"shape", {20}}, {"value", 3}, {"written", true}},
                      {{"attribute", "vocabulary"}, {"of", "/"}, {"type", "i32"}, {"value", 8}}};
  Json masked = plain;
  for (const char* marks : {"trained", "document_starts"})
    masked.push_back({{"array", marks}, {"type", "u8"}, {"shape", {20}}, {"value", 1}, {"written", true}});
  masked.push_back({{"array", "tokenizer.json"}, {"type", "u8"}, {"shape", {2}}, {"value", 123}, {"written", true}});
  masked.push_back({{"attribute", "tokenizer"}, {"of", "/"}, {"type", "text"}, {"value", "byte"}});
  masked.push_back({{"attribute", "padded_to"}, {"of", "/"}, {"type", "i64"}, {"value", 4}});
  return {plain, masked};
}

/// The first and the last samples, from memory where `in_memory_limit` lets it.
void read_some(const std::filesystem::path& path, Windows windows, std::int64_t in_memory_limit) {
  const auto set = data::open_dataset(path, 4, windows, in_memory_limit);
  const std::int64_t count = set->size();
  EXPECT_GT(count, 0);
  std::vector<std::int64_t> samples(static_cast<std::size_t>(std::min<std::int64_t>(count, 3)));
  std::iota(samples.begin(), samples.end(), std::int64_t{0});
  samples.push_back(count - 1);
  EXPECT_EQ(set->read(samples).samples(), std::ssize(samples));
  EXPECT_GE(set->terms(samples), 0);
}

void read_set(const Json& content) {
  const ScratchFile file("");
  write_hdf5(content, file.path());
  read_some(file.path(), Windows::fixed, 1 << 20);
  read_some(file.path(), Windows::anywhere, 0);
  EXPECT_FALSE(data::identity_of(file.path(), 1 << 20).checksum.empty());
  if (data::read_dataset_info(file.path()).kind == data::DatasetInfo::Kind::tokens) data::read_tokenizer(file.path());
  EXPECT_FALSE(data::describe_dataset(file.path()).empty());
}

}  // namespace

std::vector<Reader> readers() {
  return {json_reader("ImageSet", image_sets, read_set), json_reader("TokenSet", token_sets, read_set)};
}

}  // namespace lshdp::test
