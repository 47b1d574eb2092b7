// From one form of weights to another, a tensor at a time.
#include "lshdp/train/export.h"

#include <optional>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/peft.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/weights.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

bool is_file_name(const fs::path& out) { return out.extension() == ".safetensors"; }

fs::path weights_file(const fs::path& out) { return is_file_name(out) ? out : out / model::kWeightsFile; }

/// Where the files of a model lie beside its weights; empty: nothing says so.
fs::path folder_of(const SavedModel& saved) {
  if (!saved.run.empty()) return saved.run;
  return saved.config.empty() ? fs::path() : saved.weights.parent_path();
}

void copy_tokenizer(const SavedModel& saved, const fs::path& out) {
  const fs::path folder = folder_of(saved);
  if (folder.empty()) return;
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
                           "special_tokens_map.json", "generation_config.json"}) {
    if (fs::exists(folder / name) && !fs::exists(out / name)) write_file(out / name, read_file(folder / name));
  }
}

/// The tokens that begin and end texts, as the configuration beside the weights has them.
Json with_ends_of_texts(Json config, const SavedModel& saved) {
  if (saved.config.empty() || fs::is_directory(saved.config)) return config;
  const Json beside = read_json(saved.config);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (beside.contains(key) && !beside.at(key).is_null()) config[key] = beside.at(key);
  }
  return config;
}

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
  for (const char* other : {"run.json", model::kAdapterConfigFile}) {
    if (!is_file_name(out) && fs::exists(out / other, error))
      throw UsageError(
          fmt::format("--out: {} holds {}; weights beside it would be taken for others; choose another "
                      "folder",
                      out.string(), other));
  }
  for (const fs::path& taken : {file, is_file_name(out) ? file : out / model::kConfigFile}) {
    if (fs::exists(taken, error))
      throw UsageError(fmt::format("--out: {} is there already; choose another place, or remove it", taken.string()));
  }
  return require_writable_file(file, "--out");
}

Exported export_weights(const model::Model& model, const model::BlockValues& values, const SavedModel& saved,
                        const fs::path& out, std::optional<at::ScalarType> type) {
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
  if (!is_file_name(out)) {
    write_json(out / model::kConfigFile, with_ends_of_texts(model::config_of(model, exported.type), saved));
    copy_tokenizer(saved, out);
  }
  exported.bytes = static_cast<std::int64_t>(fs::file_size(exported.weights));
  return exported;
}

}  // namespace lshdp::train
