// By the record of the run that the checkpoint is of.
#include "frozen_values.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "checkpoint.h"
#include "checkpoint_manifest.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/fine_tuning.h"
#include "lshdp/model/trained_part.h"
#include "lshdp/train/run_file.h"
#include "lshdp/train/saved_model.h"
#include "settings.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

/// The weights that the checkpoint's run began with; empty: drawn.
fs::path first_weights_of(const fs::path& checkpoint, const CheckpointInfo& info) {
  const std::string identity =
      json_value<std::string>(info.training, "--init", (checkpoint / kManifest).string() + ": training");
  if (identity == kDrawn) return {};
  const fs::path run = run_of(checkpoint);
  const Json launch = read_last_launch(run);
  if (launch.is_null())
    throw UsageError(
        fmt::format("{} holds what its run trained, but not what stayed as it was in --init, which {} would "
                    "name: it is not there",
                    checkpoint.string(), (run / "run.json").string()));
  const std::string source = (run / "run.json").string();
  const Json options = json_value<Json>(launch, "options", source);
  const auto of_model = json_value<std::string>(options, "model", source + ": options");
  // A model that was exported from PyTorch is the file of its first weights.
  const fs::path init = json_value_or<std::string>(options, "init", of_model, source + ": options");
  if (identity_of_weights(find_saved_model(init, "--init")) != identity)
    throw UsageError(
        fmt::format("{} holds what its run trained; what stayed as it was is in {}, which has changed since",
                    checkpoint.string(), init.string()));
  return init;
}

/// A head that is trained may have been a fresh one.
bool trains_head(const model::Model& model) {
  const std::vector<std::string> head = model::classification_head(model);
  return !head.empty() && std::ranges::all_of(head, [&](const std::string& name) {
    const model::ParameterPlace place = model.owner_of(name);
    return model.blocks[place.block]->parameters()[place.parameter].trainable;
  });
}

/// Into `values`, of parameters that are not trained.
void read_frozen(const fs::path& checkpoint, const model::Model& model, model::Values& values) {
  const CheckpointInfo info = read_checkpoint_info(checkpoint);
  const fs::path init = first_weights_of(checkpoint, info);
  const model::WeightChanges changes{.new_head = trains_head(model), .image_size = true, .seed = info.seed};
  std::unique_ptr<model::TensorSource> source;
  std::unique_ptr<model::WeightReader> reader;
  if (!init.empty()) {
    source = open_tensors(find_saved_model(init, "--init"), model, changes);
    reader = std::make_unique<model::WeightReader>(model, *source, changes);
  }
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    const auto& parameters = model.blocks[block]->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!parameters[i].trainable)
        values[block][i] = reader ? reader->read(block, i) : model::initial_value(parameters[i], info.seed);
    }
  }
}

}  // namespace

model::Values read_all_checkpoint_values(const fs::path& checkpoint, const model::Model& model) {
  if (!model::is_partly_frozen(model)) return read_checkpoint_values(checkpoint, model);
  const model::Model trained = model::trained_part(model);
  model::Values part = read_checkpoint_values(checkpoint, trained), values;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    const model::ParameterSplit split = model::split_of(model, block);
    values.emplace_back(model.blocks[block]->parameters().size());
    for (std::size_t i = 0; i < part[block].size(); ++i) values[block][split.numbers[i]] = part[block][i];
  }
  read_frozen(checkpoint, model, values);
  return values;
}

}  // namespace lshdp::train
