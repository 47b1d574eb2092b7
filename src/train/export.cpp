// From one form of weights to another, a tensor at a time.
#include "lshdp/train/export.h"

#include <optional>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/weights.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

bool is_file_name(const fs::path& out) { return out.extension() == ".safetensors"; }

fs::path weights_file(const fs::path& out) { return is_file_name(out) ? out : out / model::kWeightsFile; }

at::Tensor converted(const at::Tensor& value, at::ScalarType type, const std::string& name) {
  at::Tensor narrow = value.to(type);
  if (narrow.isfinite().all().item<bool>()) return narrow;
  throw UsageError(
      fmt::format("--dtype: tensor {} holds values up to {:.3g}, which this type cannot; take bf16 or fp32", name,
                  value.abs().max().item<double>()));
}

}  // namespace

NewFolders require_export_place(const fs::path& out) {
  const fs::path file = weights_file(out);
  std::error_code error;
  for (const fs::path& taken : {file, is_file_name(out) ? file : out / model::kConfigFile}) {
    if (fs::exists(taken, error))
      throw UsageError(fmt::format("--out: {} is there already; choose another place, or remove it", taken.string()));
  }
  return require_writable_file(file, "--out");
}

Exported export_weights(const model::Model& model, const model::BlockValues& values, const fs::path& out,
                        std::optional<at::ScalarType> type) {
  const NewFolders folders = require_export_place(out);
  Exported exported{.weights = weights_file(out)};
  std::optional<model::SafetensorsWriter> writer;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    const std::vector<at::Tensor> of_block = values(block);
    if (!writer) {
      exported.type = type.value_or(of_block.front().scalar_type());
      writer.emplace(exported.weights, model::tensor_shapes(model, exported.type));
    }
    const auto& parameters = model.blocks[block]->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i)
      writer->write(parameters[i].name, converted(of_block[i], exported.type, parameters[i].name));
  }
  writer.value().commit();
  if (!is_file_name(out)) write_json(out / model::kConfigFile, model::config_of(model, exported.type));
  exported.bytes = static_cast<std::int64_t>(fs::file_size(exported.weights));
  return exported;
}

}  // namespace lshdp::train
