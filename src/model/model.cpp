// Models by preset or description, and what can be asked of any model.
#include "lshdp/model/model.h"

#include <filesystem>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "architectures.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/text.h"
#include "lshdp/model/weights.h"

namespace lshdp::model {
namespace {

namespace fs = std::filesystem;

struct Preset {
  const char* name;
  Json description;
};

Json vit(std::int64_t patch, std::int64_t layers, std::int64_t heads, std::int64_t hidden, std::int64_t mlp) {
  return {{"type", "vit"},      {"image_size", 224},    {"patch_size", patch}, {"num_layers", layers},
          {"num_heads", heads}, {"hidden_dim", hidden}, {"mlp_dim", mlp}};
}

Json gpt2(std::int64_t layers, std::int64_t heads, std::int64_t hidden) {
  return {{"type", "gpt2"},   {"n_layer", layers},   {"n_head", heads},
          {"n_embd", hidden}, {"n_positions", 1024}, {"vocab_size", 50257}};
}

/// The sizes of torchvision.models and of the checkpoints of Hugging Face.
std::vector<Preset> presets() {
  return {{"vit_b_16", vit(16, 12, 12, 768, 3072)},
          {"vit_b_32", vit(32, 12, 12, 768, 3072)},
          {"vit_l_16", vit(16, 24, 16, 1024, 4096)},
          {"vit_l_32", vit(32, 24, 16, 1024, 4096)},
          {"vit_h_14", vit(14, 32, 16, 1280, 5120)},
          {"gpt2", gpt2(12, 12, 768)},
          {"gpt2-medium", gpt2(24, 16, 1024)},
          {"gpt2-large", gpt2(36, 20, 1280)},
          {"gpt2-xl", gpt2(48, 25, 1600)},
          {"mlp", {{"type", "mlp"}, {"input_size", 784}, {"hidden_sizes", {512, 256, 128}}, {"output_size", 10}}}};
}

/// "type", or what a config.json of Hugging Face says instead.
std::string type_of(Description& description) {
  if (!description.has("type") && description.has("model_type")) return description.text("model_type");
  return description.text("type");
}

Model build(const Json& object, const std::string& name, const std::string& source) {
  Description description(object, source);
  const std::string type = type_of(description);
  if (type == "vit" && !description.has("type"))
    throw UsageError(
        fmt::format("{} describes Hugging Face's ViT; lshdp has torchvision's VisionTransformer: a JSON "
                    "file with \"type\": \"vit\" and its argument names",
                    source));
  if (type == "vit") return make_vit(description, name);
  if (type == "gpt2") return make_gpt2(description, name);
  if (type == "mlp") return make_mlp(description, name);
  throw_wrong_key(source, "type", fmt::format("is \"{}\"; it must be \"vit\", \"gpt2\" or \"mlp\"", type));
}

/// The description in a folder, and the file that holds it.
std::pair<Json, fs::path> description_in(const fs::path& folder) {
  std::error_code error;
  if (const fs::path config = folder / kConfigFile; fs::exists(config, error)) return {read_json(config), config};
  const fs::path manifest = folder / "manifest.json";
  if (fs::exists(manifest, error)) return {json_value<Json>(read_json(manifest), "model", manifest.string()), manifest};
  throw UsageError(fmt::format("model: the folder {} holds no config.json that describes a model", folder.string()));
}

/// What a model of this file is called: config.json is every model's.
std::string name_of_file(const fs::path& path) {
  const fs::path folder = fs::absolute(path).lexically_normal().parent_path();
  return valid_utf8(path.filename() == kConfigFile && folder.has_filename() ? folder.filename().string()
                                                                            : path.stem().string());
}

}  // namespace

std::int64_t Model::parameter_count() const {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) count += parameter_count(i);
  return count;
}

std::int64_t Model::parameter_count(std::size_t block) const {
  std::int64_t count = 0;
  for (const Parameter& parameter : blocks.at(block)->parameters()) {
    count += std::accumulate(parameter.shape.begin(), parameter.shape.end(), std::int64_t{1}, std::multiplies<>());
  }
  return count;
}

ParameterPlace Model::owner_of(std::string_view parameter) const {
  for (std::size_t block = 0; block < blocks.size(); ++block) {
    const std::vector<Parameter>& owned = blocks[block]->parameters();
    for (std::size_t i = 0; i < owned.size(); ++i) {
      if (owned[i].name == parameter) return {block, i};
    }
  }
  throw std::out_of_range(fmt::format("no block owns a parameter {}", parameter));
}

Model make_model(const std::string& preset_or_path) {
  for (const Preset& preset : presets()) {
    if (preset.name == preset_or_path) return build(preset.description, preset.name, preset.name);
  }
  const fs::path path = preset_or_path;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const auto [description, file] = description_in(path);
    return build(description, name_of_file(path / kConfigFile), file.string());
  }
  if (path.extension() != ".json" && !fs::exists(path, error)) {
    throw UsageError(fmt::format("model '{}' is not known; use one of {}, or a JSON file that describes a model{}",
                                 preset_or_path, fmt::join(preset_names(), ", "),
                                 did_you_mean(preset_or_path, preset_names())));
  }
  const Json description = read_json(path);
  refuse_other_kind(description, "a model's description", path.string());
  return build(description, name_of_file(path), path.string());
}

Model make_model_from_json(const nlohmann::json& description, const std::string& name) {
  return build(description, name, fmt::format("model '{}'", name));
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : presets()) names.emplace_back(preset.name);
  return names;
}

}  // namespace lshdp::model
