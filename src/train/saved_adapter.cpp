// Adapters of PEFT and of checkpoints, beside the values of their base.
#include "lshdp/train/saved_adapter.h"

#include <memory>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "checkpoint.h"
#include "checkpoint_manifest.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/model/peft.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/trained_part.h"
#include "lshdp/train/saved_model.h"
#include "saved_step.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdapterOption = "--adapter";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

SavedAdapter in_files(const fs::path& folder) {
  const fs::path file = folder / model::kAdapterConfigFile;
  const Json config = read_json(file);
  const Json base = config.value("base_model_name_or_path", Json());
  return {.folder = folder,
          .settings = model::read_adapter_config(config, file.string()),
          .run = run_around(folder),
          .base = base.is_string() ? base.get<std::string>() : ""};
}

std::optional<SavedAdapter> in_checkpoint(const fs::path& folder) {
  const nlohmann::json description = read_checkpoint_info(folder).model;
  if (!description.contains(model::kLoraKey)) return std::nullopt;
  return SavedAdapter{.folder = folder,
                      .checkpoint = true,
                      .settings = model::lora_from_json(description.at(model::kLoraKey), folder.string()),
                      .run = run_around(folder)};
}

/// The values of `model`'s adapters; others are undefined.
model::Values read_values(const SavedAdapter& saved, const model::Model& model) {
  if (!saved.note.empty()) spdlog::info(saved.note);
  if (!saved.checkpoint) {
    const auto tensors = model::open_adapter_tensors(saved.folder / model::kAdapterFile);
    return model::read_adapter(model, *tensors);
  }
  if (model::parameters_of_description(read_checkpoint_info(saved.folder).model) !=
      model::parameters_of_description(model.description))
    throw UsageError(fmt::format("{}: {} is an adapter of another model", kAdapterOption, saved.folder.string()));
  const model::Model trained = model::trained_part(model);
  model::Values part = read_checkpoint_values(saved.folder, trained), values;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    const model::ParameterSplit split = model::split_of(model, block);
    values.emplace_back(model.blocks[block]->parameters().size());
    for (std::size_t i = 0; i < part[block].size(); ++i) values[block][split.numbers[i]] = part[block][i];
  }
  return values;
}

/// An adapter's values, read once they are wanted.
class LazyAdapter {
 public:
  LazyAdapter(const model::Model& model, fs::path given) : model_(model), given_(std::move(given)) {}

  const at::Tensor& value(std::size_t block, std::size_t parameter) {
    if (!values_) values_ = read_values(find_saved_adapter(given_, kAdapterOption), model_);
    return (*values_)[block][parameter];
  }

 private:
  const model::Model& model_;
  fs::path given_;
  std::optional<model::Values> values_;
};

}  // namespace

SavedAdapter find_saved_adapter(const fs::path& given, std::string_view option) {
  if (!is_there(given)) throw UsageError(fmt::format("{}: there is no {}", option, given.string()));
  // A run has its configuration from the begin, and the weights at the end.
  const bool files = is_there(given / model::kAdapterConfigFile) && is_there(given / model::kAdapterFile);
  const std::optional<fs::path> checkpoint = newest_checkpoint(given);
  if (files && (!checkpoint || step_of_file(given / model::kAdapterFile) >= step_in_name(*checkpoint)))
    return in_files(given);
  if (checkpoint) {
    if (std::optional<SavedAdapter> found = in_checkpoint(*checkpoint)) {
      if (given != *checkpoint)
        found->note =
            fmt::format("taking the adapter of {}, the newest of {}", checkpoint->filename().string(), given.string());
      return *found;
    }
  }
  throw UsageError(fmt::format("{}: {} holds no {} with {}, and no checkpoint of a run that trains an adapter", option,
                               given.string(), model::kAdapterFile, model::kAdapterConfigFile));
}

std::string doubt_of_base(const SavedAdapter& adapter, const fs::path& init) {
  // A name on a hub says nothing of what lies here.
  if (adapter.base.empty() || init.empty() || !is_there(adapter.base)) return "";
  const fs::path given = fs::weakly_canonical(init), named = fs::weakly_canonical(adapter.base);
  if (given == named || given.parent_path() == named) return "";
  return fmt::format("{} was trained beside {}; beside other weights it means something else", adapter.folder.string(),
                     adapter.base);
}

model::BlockValues values_with_adapter(const model::Model& model, model::BlockValues base, const fs::path& adapter,
                                       std::uint64_t seed) {
  const auto saved = adapter.empty() ? nullptr : std::make_shared<LazyAdapter>(model, adapter);
  return [&model, base = std::move(base), saved, seed](std::size_t block) {
    std::vector<at::Tensor> values = base(block);
    const auto& parameters = model.blocks[block]->parameters();
    for (std::size_t i = values.size(); i < parameters.size(); ++i)
      values.push_back(saved ? saved->value(block, i) : model::initial_value(parameters[i], seed));
    return values;
  };
}

model::BlockValues merged_values(const model::Model& model, model::BlockValues base, const fs::path& adapter) {
  struct State {
    std::optional<model::LoraSettings> settings;
    std::optional<model::Model> adapted;
    std::unique_ptr<LazyAdapter> values;
    std::vector<model::LinearLayer> layers;
  };
  const auto state = std::make_shared<State>();
  return [&model, base = std::move(base), adapter, state](std::size_t block) {
    if (!state->values) {
      state->settings = find_saved_adapter(adapter, kAdapterOption).settings;
      state->layers = model::targets_of(model, *state->settings, adapter.string());
      state->adapted = model::with_lora(model::base_of(model), *state->settings, adapter.string());
      state->values = std::make_unique<LazyAdapter>(*state->adapted, adapter);
    }
    std::vector<at::Tensor> values = base(block);
    std::size_t next = values.size();  // where A of the block's next target stands
    for (const model::LinearLayer& layer : state->layers) {
      if (layer.weight.block != block) continue;
      at::Tensor& weight = values[layer.weight.parameter];
      const at::Tensor change = model::weight_change(
          state->values->value(block, next), state->values->value(block, next + 1), *state->settings, layer.product);
      weight = weight + change.to(weight.scalar_type());
      next += 2;
    }
    return values;
  };
}

}  // namespace lshdp::train
