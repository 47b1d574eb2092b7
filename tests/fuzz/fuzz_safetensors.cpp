// Readers of safetensors files (the header's length, its JSON and the data it describes) and of lists of shards.
#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include "lshdp/model/safetensors.h"
#include "lshdp/model/shards.h"
#include "reader.h"
#include "scratch_file.h"

namespace lshdp::test {
namespace {

std::string file_of(const std::string& header, std::size_t data_bytes) {
  std::string text(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(text.data(), &length, sizeof length);
  return text + header + std::string(data_bytes, 'x');
}

std::vector<std::string> files() {
  return {
      file_of("{}", 0),
      file_of(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
      file_of(
          R"({"b":{"dtype":"BOOL","shape":[3],"data_offsets":[8,11]},"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}})",
          11),
      file_of(
          R"({"e":{"dtype":"I64","shape":[0,4],"data_offsets":[0,0]},"h":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}})",
          12),
      file_of(
          R"({"m":{"dtype":"U16","shape":[2],"data_offsets":[0,4]},"n":{"dtype":"I8","shape":[3],"data_offsets":[4,7]}})",
          7)};
}

void read(const std::string& content) {
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : model::parse_safetensors(std::as_bytes(std::span(content)), "w.safetensors")) {
    bytes += tensor.nbytes();
  }
  EXPECT_LT(bytes, content.size());  // nothing is made that the file does not hold
  model::read_safetensors_metadata(ScratchFile(content).path());
}

Json index_of_shards() {
  return {{"metadata", {{"total_size", 16}}},
          {"weight_map", {{"a", "model-00001-of-00002.safetensors"}, {"b", "model-00002-of-00002.safetensors"}}}};
}

void read_index(const Json& index) {
  for (const auto& [tensor, file] : model::shards_of_index(index, "model.safetensors.index.json"))
    EXPECT_EQ(std::filesystem::path(file).filename(), file);
}

}  // namespace

std::vector<Reader> readers() {
  return {{"Safetensors", files, read},
          json_reader(
              "ShardIndex", [] { return std::vector<Json>{index_of_shards()}; }, read_index)};
}

}  // namespace lshdp::test
