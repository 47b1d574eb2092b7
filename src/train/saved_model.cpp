// Finds weights in files and folders by what lies there.
#include "lshdp/train/saved_model.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checkpoint.h"
#include "checkpoint_manifest.h"
#include "frozen_values.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/peft.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/shards.h"
#include "lshdp/model/traced.h"
#include "lshdp/model/weights.h"
#include "run_weights.h"
#include "saved_step.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

using model::kShardsFile;
using model::kWeightsFile;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool is_run(const fs::path& folder) {
  return is_there(folder / "run.json") || is_there(folder / "metrics.jsonl") || is_folder(folder / "checkpoints");
}

/// "a, b and c" of a folder, for messages; few of them.
std::string content_of(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  if (names.empty()) return "nothing";
  const bool all = names.size() <= 5;
  if (!all) names.resize(5);
  return fmt::format("{}{}", fmt::join(names, ", "), all ? "" : ", ..");
}

bool holds_pickles(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth") || name.ends_with(".bin.index.json"))
      return true;
  }
  return false;
}

fs::path config_beside(const fs::path& weights) {
  const fs::path config = weights.parent_path() / model::kConfigFile;
  return is_there(config) ? config : fs::path();
}

/// Whether a JSON file is a list of shards, whatever its name. Other JSON is refused where it is opened as weights.
bool is_index(const fs::path& path) { return path.extension() == ".json" && model::is_shard_index(read_json(path)); }

/// Throws UsageError on what holds no weights, or only a part of them, before anybody asks for their model.
void require_weights(const fs::path& path, SavedModel::Kind kind, std::string_view option) {
  if (is_there(path.parent_path() / kManifest) && (path.filename() == kManifest || path.extension() == ".h5"))
    throw UsageError(fmt::format("{}: {} is one file of a checkpoint; give its folder", option, path.string()));
  if (kind == SavedModel::Kind::file) model::open_safetensors(path);
}

SavedModel saved_in_file(const fs::path& path, std::string_view option) {
  const std::string name = path.filename().string();
  SavedModel saved{.kind = is_index(path) ? SavedModel::Kind::shards : SavedModel::Kind::file,
                   .weights = path,
                   .config = {},
                   .run = run_around(path)};
  require_weights(path, saved.kind, option);
  // Other names may be of any model: what lies beside them says nothing.
  if (name == kWeightsFile || name == kShardsFile || is_set_aside(path)) saved.config = config_beside(path);
  if (model::exported_description(path)) saved.config = path;
  return saved;
}

/// An adapter alone is no model.
[[noreturn]] void refuse_adapter(const fs::path& folder, std::string_view option) {
  throw UsageError(
      fmt::format("{}: {} holds a LoRA adapter; give the weights of its base model here and the adapter as "
                  "--adapter, or merge the two with 'lshdp merge-lora'",
                  option, folder.string()));
}

SavedModel saved_in_checkpoint(const fs::path& folder, std::string_view option, std::string note = {}) {
  if (read_checkpoint_info(folder).model.contains(model::kLoraKey)) refuse_adapter(folder, option);
  return {.kind = SavedModel::Kind::checkpoint,
          .weights = folder,
          .config = folder,
          .run = run_around(folder),
          .note = std::move(note)};
}

/// A run that goes on after its end has newer checkpoints than last weights.
SavedModel saved_in_run(const fs::path& run, std::string_view option) {
  const std::optional<fs::path> checkpoint = newest_checkpoint(run);
  const fs::path last = run / kWeightsFile;
  if (!is_there(last)) {
    if (!checkpoint)
      throw UsageError(
          fmt::format("{}: the run {} has neither {} nor a checkpoint yet", option, run.string(), kWeightsFile));
    return saved_in_checkpoint(*checkpoint, option,
                               fmt::format("{} has no last weights yet; taking its newest checkpoint, {}", run.string(),
                                           checkpoint->filename().string()));
  }
  if (checkpoint) {
    const std::int64_t step = step_of_file(last), newer = step_in_name(*checkpoint);
    if (step >= 0 && newer > step)
      return saved_in_checkpoint(
          *checkpoint, option,
          fmt::format("{} is of step {}, and the run has gone on since; taking its newest checkpoint, of "
                      "step {}",
                      last.string(), step, newer));
  }
  return saved_in_file(last, option);
}

SavedModel saved_in_folder(const fs::path& folder, std::string_view option) {
  if (is_there(folder / kManifest)) return saved_in_checkpoint(folder, option);
  if (is_there(folder / model::kAdapterConfigFile)) refuse_adapter(folder, option);
  if (is_run(folder)) return saved_in_run(folder, option);
  for (const char* name : {kWeightsFile, kShardsFile}) {
    if (is_there(folder / name)) return saved_in_file(folder / name, option);
  }
  if (holds_pickles(folder))
    throw UsageError(
        fmt::format("{}: {} holds weights that PyTorch wrote (torch.save), but no {}; in Python: "
                    "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW, safe_serialization=True)",
                    option, folder.string(), kWeightsFile));
  throw UsageError(fmt::format("{}: the folder {} holds neither {}, {}, a run nor a checkpoint, but {}", option,
                               folder.string(), kWeightsFile, kShardsFile, content_of(folder)));
}

/// A checkpoint's values under the names of its model's parameters.
class CheckpointTensors final : public model::TensorSource {
 public:
  CheckpointTensors(const fs::path& folder, const model::Model& model)
      : where_(folder.string()), values_(read_all_checkpoint_values(folder, model)) {
    for (std::size_t block = 0; block < model.blocks.size(); ++block) {
      const auto& parameters = model.blocks[block]->parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        places_.emplace(parameters[i].name, std::pair(block, i));
        names_.insert(parameters[i].name);
      }
    }
  }

  const std::string& where() const override { return where_; }
  const std::set<std::string>& names() const override { return names_; }
  at::Tensor read(const std::string& name) override {
    const auto& [block, parameter] = places_.at(name);
    return values_[block][parameter];
  }

 private:
  std::string where_;
  model::Values values_;
  std::map<std::string, std::pair<std::size_t, std::size_t>> places_;
  std::set<std::string> names_;
};

}  // namespace

/// Where no run.json says so, the nearest folder that looks like a run.
fs::path run_around(const fs::path& path) {
  fs::path folder = fs::absolute(path).lexically_normal(), nearest;
  for (int up = 0; up < 4 && folder.has_relative_path(); ++up, folder = folder.parent_path()) {
    if (is_there(folder / "run.json")) return folder;
    if (nearest.empty() && is_folder(folder) && is_run(folder)) nearest = folder;
  }
  return nearest;
}

SavedModel find_saved_model(const fs::path& given, std::string_view option) {
  if (is_folder(given)) return saved_in_folder(given, option);
  if (!is_there(given)) throw UsageError(fmt::format("{}: there is no {}", option, given.string()));
  return saved_in_file(given, option);
}

std::string identity_of_weights(const SavedModel& saved) {
  std::set<fs::path> files{saved.weights};
  if (saved.kind == SavedModel::Kind::checkpoint) files = {saved.weights / kManifest};  // it has those of its files
  if (saved.kind == SavedModel::Kind::shards) {
    for (const auto& [tensor, file] : model::shards_of_index(read_json(saved.weights), saved.weights.string()))
      files.insert(saved.weights.parent_path() / file);
  }
  std::vector<std::string> sums;
  for (const fs::path& file : files) sums.push_back(describe_file(file).checksum);
  return fmt::format("{}", fmt::join(sums, "+"));
}

namespace {

/// What must be alike of two models, one of which begins with weights of the other.
Json without_changes(const Json& description, const model::WeightChanges& changes) {
  Json same = model::parameters_of_description(description);
  if (changes.new_head) same.erase("num_classes");
  if (changes.image_size) same.erase("image_size");
  return same;
}

}  // namespace

std::unique_ptr<model::TensorSource> open_tensors(const SavedModel& saved, const model::Model& model,
                                                  const model::WeightChanges& changes) {
  if (!saved.note.empty()) spdlog::info(saved.note);
  if (saved.kind == SavedModel::Kind::shards) return model::open_shards(saved.weights);
  if (saved.kind == SavedModel::Kind::file) return model::open_safetensors(saved.weights);
  const Json description = read_checkpoint_info(saved.weights).model;
  if (without_changes(description, changes) != without_changes(model.description, changes))
    throw UsageError(fmt::format("{} is of another model than --model; leave out --model, or give that of its run",
                                 saved.weights.string()));
  return std::make_unique<CheckpointTensors>(saved.weights, model::make_model_from_json(description, model.name));
}

model::Values read_saved_weights(const model::Model& model, const fs::path& given, std::string_view option) {
  return model::read_weights(model, *open_tensors(find_saved_model(given, option), model));
}

model::BlockValues saved_block_values(const model::Model& model, const fs::path& given, std::string_view option,
                                      const model::WeightChanges& changes) {
  struct Opened {
    std::unique_ptr<model::TensorSource> source;
    std::unique_ptr<model::WeightReader> reader;
  };
  const auto opened = std::make_shared<Opened>();
  return [&model, given, opened, changes, name = std::string(option)](std::size_t block) {
    if (!opened->reader) {
      opened->source = open_tensors(find_saved_model(given, name), model, changes);
      opened->reader = std::make_unique<model::WeightReader>(model, *opened->source, changes);
    }
    std::vector<at::Tensor> values;
    for (std::size_t i = 0; i < model.blocks[block]->parameters().size(); ++i)
      values.push_back(opened->reader->read(block, i));
    return values;
  };
}

}  // namespace lshdp::train
