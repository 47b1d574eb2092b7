// Models by preset or description, and what can be asked of any model.
#include "lshdp/model/model.h"

#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "architectures.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/text.h"
#include "lshdp/model/fine_tuning.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/traced.h"
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

/// Llama 3.1 and 3.2, whose heads share eight keys.
Json llama3(std::int64_t layers, std::int64_t heads, std::int64_t hidden, std::int64_t inner) {
  return {{"type", "llama"},
          {"num_hidden_layers", layers},
          {"num_attention_heads", heads},
          {"num_key_value_heads", 8},
          {"hidden_size", hidden},
          {"intermediate_size", inner},
          {"max_position_embeddings", 131072},
          {"vocab_size", 128256},
          {"rms_norm_eps", 1e-5}};
}

Json with_llama3_rotary(Json model, double factor, bool tied) {
  model["tie_word_embeddings"] = tied;
  model["rope_parameters"] = {{"rope_type", "llama3"},   {"rope_theta", 500000.0},
                              {"factor", factor},        {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  return model;
}

Json llama2_7b() {
  return {{"type", "llama"},     {"num_hidden_layers", 32},    {"num_attention_heads", 32},
          {"hidden_size", 4096}, {"intermediate_size", 11008}, {"max_position_embeddings", 4096},
          {"vocab_size", 32000}, {"rms_norm_eps", 1e-5}};
}

Json qwen25_half_b() {
  return {{"type", "qwen2"},
          {"num_hidden_layers", 24},
          {"num_attention_heads", 14},
          {"num_key_value_heads", 2},
          {"hidden_size", 896},
          {"intermediate_size", 4864},
          {"max_position_embeddings", 32768},
          {"vocab_size", 151936},
          {"tie_word_embeddings", true},
          {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1000000.0}}}};
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
          {"llama-3.2-1b", with_llama3_rotary(llama3(16, 32, 2048, 8192), 32, true)},
          {"llama-3.2-3b", with_llama3_rotary(llama3(28, 24, 3072, 8192), 32, true)},
          {"llama-3.1-8b", with_llama3_rotary(llama3(32, 32, 4096, 14336), 8, false)},
          {"llama-2-7b", llama2_7b()},
          {"qwen2.5-0.5b", qwen25_half_b()},
          {"mlp", {{"type", "mlp"}, {"input_size", 784}, {"hidden_sizes", {512, 256, 128}}, {"output_size", 10}}}};
}

/// "type", or what a config.json of Hugging Face says instead.
std::string type_of(Description& description) {
  if (!description.has("type") && description.has("model_type")) return description.text("model_type");
  return description.text("type");
}

Model build_base(const Json& object, const std::string& name, const std::string& source) {
  Description description(object, source);
  const std::string type = type_of(description);
  if (type == "vit" && !description.has("type"))
    throw UsageError(
        fmt::format("{} describes Hugging Face's ViT; lshdp has torchvision's VisionTransformer: a JSON "
                    "file with \"type\": \"vit\" and its argument names",
                    source));
  if (type == "vit") return make_vit(description, name);
  if (type == "gpt2") return make_gpt2(description, name);
  if (type == "llama" || type == "qwen2" || type == "mistral") return make_llama(description, type, name);
  if (type == "mlp") return make_mlp(description, name);
  if (type == kTracedType) return make_traced(object, name, source);
  throw_wrong_key(
      source, "type",
      fmt::format("is \"{}\"; it must be \"vit\", \"gpt2\", \"llama\", \"qwen2\", \"mistral\" or \"mlp\"", type));
}

/// With what a description of ours names beside the model: its adapters, or what of it stays as it is.
Model build(const Json& object, const std::string& name, const std::string& source) {
  if (object.is_object() && object.contains(kFreezeKey)) {
    Json base = object;
    base.erase(kFreezeKey);
    const auto patterns = json_value<std::vector<std::string>>(object, kFreezeKey, source);
    return with_frozen(build(base, name, source), patterns, source + ": " + kFreezeKey);
  }
  if (!object.is_object() || !object.contains(kLoraKey)) return build_base(object, name, source);
  Json base = object;
  const LoraSettings settings = lora_from_json(base.at(kLoraKey), source + ": " + kLoraKey);
  base.erase(kLoraKey);
  return with_lora(build_base(base, name, source), settings, source);
}

/// The description in a folder, and the file that holds it.
std::pair<Json, fs::path> description_in(const fs::path& folder) {
  std::error_code error;
  if (const fs::path config = folder / kConfigFile; fs::exists(config, error)) return {read_json(config), config};
  const fs::path manifest = folder / "manifest.json";
  if (fs::exists(manifest, error)) {
    Json description = json_value<Json>(read_json(manifest), "model", manifest.string());
    for (const char* of_run : {kFreezeKey, kDropoutKey, kStochasticDepthKey}) {
      if (description.is_object()) description.erase(of_run);
    }
    return {description, manifest};
  }
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
  for (const Parameter& parameter : blocks.at(block)->parameters()) count += parameter.count();
  return count;
}

std::int64_t Model::trained_count() const {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) count += trained_count(i);
  return count;
}

std::int64_t Model::trained_count(std::size_t block) const {
  std::int64_t count = 0;
  for (const Parameter& parameter : blocks.at(block)->parameters())
    count += parameter.trainable ? parameter.count() : 0;
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
    throw UsageError(
        fmt::format("model '{}' is not known; use one of {}, a JSON file that describes a model, or one "
                    "that scripts/export_model.py wrote{}",
                    preset_or_path, fmt::join(preset_names(), ", "), did_you_mean(preset_or_path, preset_names())));
  }
  if (const std::optional<Json> exported = exported_description(path))
    return build(*exported, name_of_file(path), path.string());
  const Json description = read_json(path);
  refuse_other_kind(description, "a model's description", path.string());
  return build(description, name_of_file(path), path.string());
}

Model make_model_from_json(const nlohmann::json& description, const std::string& name) {
  return build(description, name, fmt::format("model '{}'", name));
}

Model with_context(const Model& model, std::int64_t context) {
  if (model.input.kind != InputSpec::Kind::tokens)
    throw UsageError(fmt::format("model '{}' reads no texts; only those have a context", model.name));
  Json description = model.description;
  description["context"] = context;
  Model made = make_model_from_json(description, model.name);
  made.dropout = model.dropout;  // which no description of ours holds
  return made;
}

nlohmann::json parameters_of_description(nlohmann::json description) {
  for (const char* other : {"context", kFreezeKey, kDropoutKey, kStochasticDepthKey}) description.erase(other);
  if (description.contains(kLoraKey)) description[kLoraKey].erase("base_precision");
  return description;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : presets()) names.emplace_back(preset.name);
  return names;
}

}  // namespace lshdp::model
