// What a model consists of, block by block, and which rank of a layout holds what, as `lshdp describe` tells it.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/model/model.h"
#include "lshdp/plan/layout.h"

namespace lshdp::measure {

struct BlockDescription {
  std::string name;
  std::vector<std::int64_t> input, output;  // shapes of one sample
  std::int64_t parameters = 0;              // that it owns
  std::vector<int> ranks = {};              // that hold it, rising; empty: no layout
};

struct RankDescription {
  std::int64_t rank = 0;
  std::vector<std::pair<std::size_t, std::size_t>> blocks = {};  // [start, end) of each stage
  std::int64_t parameters = 0;
};

struct ModelDescription {
  std::string model;
  std::int64_t parameters = 0;  // each shared one once
  std::vector<BlockDescription> blocks;
  std::vector<RankDescription> ranks = {};  // that hold blocks, rising; empty: no layout
};

/// Bytes of `parameters` in fp32, and with their gradients and both moments.
std::int64_t parameter_bytes(std::int64_t parameters);
std::int64_t training_bytes(std::int64_t parameters);

/// `layout` may be null. Throws UsageError, beginning with `source`, if it is not one of this model.
ModelDescription describe_model(const model::Model& model, const plan::Layout* layout = nullptr,
                                const std::string& source = "");

/// A table of blocks and, of a layout, one of ranks. Several lines.
std::string to_text(const ModelDescription& description);
/// {"version":1,"model":"gpt2","parameters":124439808,"blocks":[{"name","input","output","parameters",
/// "parameter_bytes","training_bytes","ranks"}],"ranks":[{"rank","blocks":[[0,3],[25,26]],"parameters",
/// "parameter_bytes","training_bytes"}]}; no "ranks" without a layout.
nlohmann::json to_json(const ModelDescription& description);

}  // namespace lshdp::measure
