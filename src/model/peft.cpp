// PEFT's names, and what its configuration may say.
#include "lshdp/model/peft.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/weights.h"

namespace lshdp::model {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

/// Says what would change the model and is not supported.
[[noreturn]] void refuse(const std::string& source, const std::string& key, const Json& value) {
  throw UsageError(fmt::format("{}: {} is {}, which lshdp does not support; train the adapter without it", source, key,
                               json_text(value)));
}

bool says_nothing(const Json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

/// Keys that say nothing of the mathematics, whatever their value.
constexpr std::array kOtherKeys{"base_model_name_or_path",
                                "task_type",
                                "inference_mode",
                                "revision",
                                "auto_mapping",
                                "peft_version",
                                "layers_pattern",
                                "megatron_core",
                                "fan_in_fan_out",
                                "runtime_config",
                                "qalora_group_size",
                                "ensure_weight_tying"};

/// First values by another method may have changed the base model as well.
void require_plain_start(const Json& config, const std::string& source) {
  const Json start = config.value("init_lora_weights", Json(true));
  if (start.is_boolean() || start == "gaussian" || start.is_null()) return;
  refuse(source, "init_lora_weights", start);
}

std::vector<std::string> target_modules(const Json& config, const std::string& source) {
  const Json targets = config.value("target_modules", Json());
  if (targets == "all-linear") return {"all-linear"};
  if (targets.is_string())
    throw_wrong_key(source, "target_modules", "is a pattern, which lshdp does not support; list the modules' names");
  return json_value<std::vector<std::string>>(config, "target_modules", source);
}

Json whole_number_or(double value) {
  if (value == std::round(value) && std::abs(value) < 1e9) return static_cast<std::int64_t>(value);
  return value;
}

/// Tensors of a file under other names.
class AdapterTensors final : public TensorSource {
 public:
  explicit AdapterTensors(std::unique_ptr<TensorSource> file) : file_(std::move(file)) {
    for (const std::string& name : file_->names()) {
      if (!name.starts_with(kPrefix))
        throw UsageError(fmt::format("{}: tensor {} does not begin with {}; PEFT itself would pass it over", where(),
                                     name, kPrefix));
      const std::string ours = name.substr(kPrefix.size());
      names_.insert(ours);
      theirs_[ours] = name;
    }
  }

  const std::string& where() const override { return file_->where(); }
  const std::set<std::string>& names() const override { return names_; }
  at::Tensor read(const std::string& name) override { return file_->read(theirs_.at(name)); }

 private:
  std::unique_ptr<TensorSource> file_;
  std::set<std::string> names_;
  std::map<std::string, std::string> theirs_;
};

at::Tensor checked(TensorSource& tensors, const Parameter& parameter) {
  const at::Tensor value = tensors.read(parameter.name);
  if (value.sizes() != at::IntArrayRef(parameter.shape))
    throw UsageError(fmt::format("{}: tensor {} has shape [{}], the model and r ask for [{}]", tensors.where(),
                                 peft_name(parameter.name), fmt::join(value.sizes().vec(), ", "),
                                 fmt::join(parameter.shape, ", ")));
  if (!value.is_floating_point())
    throw UsageError(fmt::format("{}: tensor {} has type {}, which is no floating type", tensors.where(),
                                 peft_name(parameter.name), c10::toString(value.scalar_type())));
  require_finite(value, peft_name(parameter.name), tensors.where());
  return value.scalar_type() == at::kDouble ? value : value.to(at::kFloat);
}

}  // namespace

std::string peft_name(const std::string& parameter) { return std::string(kPrefix) + parameter; }

namespace {

/// As short as they can be, and none but these layers' names.
std::vector<std::string> target_modules(const Model& model, const std::vector<LinearLayer>& layers,
                                        LoraSettings settings) {
  settings.targets = target_names(layers);
  if (targets_of(model, settings, model.name).size() == layers.size()) return settings.targets;
  std::vector<std::string> names;
  for (const LinearLayer& layer : layers) names.push_back(layer.name);
  return names;
}

}  // namespace

Json adapter_config(const Model& model, const std::string& base) {
  const LoraSettings settings = lora_of(model).value();
  const Model plain = base_of(model);
  const std::vector<LinearLayer> layers = targets_of(plain, settings, model.name);
  const bool conv1d = std::ranges::any_of(layers, [](const auto& layer) { return layer.product == Product::conv1d; });
  const bool text = model.input.kind == InputSpec::Kind::tokens;
  return {{"peft_type", "LORA"},
          {"task_type", text ? Json("CAUSAL_LM") : Json()},
          {"base_model_name_or_path", base.empty() ? Json() : Json(base)},
          {"inference_mode", true},
          {"r", settings.rank},
          {"lora_alpha", whole_number_or(settings.alpha)},
          {"lora_dropout", settings.dropout},
          {"target_modules", target_modules(plain, layers, settings)},
          {"bias", "none"},
          {"fan_in_fan_out", conv1d},
          {"use_rslora", settings.rank_stabilized},
          {"use_dora", false},
          {"init_lora_weights", true},
          {"modules_to_save", nullptr},
          {"rank_pattern", Json::object()},
          {"alpha_pattern", Json::object()}};
}

LoraSettings read_adapter_config(const Json& config, const std::string& source) {
  if (const auto type = json_value<std::string>(config, "peft_type", source); type != "LORA")
    throw_wrong_key(source, "peft_type", fmt::format("is \"{}\"; lshdp knows LORA", type));
  if (const Json bias = config.value("bias", Json("none")); bias != "none") refuse(source, "bias", bias);
  require_plain_start(config, source);
  std::set<std::string> known{"peft_type",      "r",    "lora_alpha",       "lora_dropout", "use_rslora",
                              "target_modules", "bias", "init_lora_weights"};
  known.insert(kOtherKeys.begin(), kOtherKeys.end());
  for (const auto& [key, value] : config.items()) {
    if (!known.contains(key) && !says_nothing(value)) refuse(source, key, value);
  }
  return lora_from_json({{"r", json_value<std::int64_t>(config, "r", source)},
                         {"alpha", json_value<double>(config, "lora_alpha", source)},
                         {"dropout", json_value_or<double>(config, "lora_dropout", 0, source)},
                         {"rslora", json_value_or<bool>(config, "use_rslora", false, source)},
                         {"targets", target_modules(config, source)}},
                        source);
}

std::unique_ptr<TensorSource> open_adapter_tensors(const std::filesystem::path& file) {
  return std::make_unique<AdapterTensors>(open_safetensors(file));
}

Values read_adapter(const Model& model, TensorSource& tensors) {
  Values values;
  std::set<std::string> left = tensors.names();
  for (const auto& block : model.blocks) {
    std::vector<at::Tensor>& of_block = values.emplace_back(block->parameters().size());
    for (std::size_t i = 0; i < of_block.size(); ++i) {
      const Parameter& parameter = block->parameters()[i];
      if (!parameter.trainable) continue;
      if (left.erase(parameter.name) == 0)
        throw UsageError(fmt::format("{}: tensor {} is missing; is it an adapter of another model?", tensors.where(),
                                     peft_name(parameter.name)));
      of_block[i] = checked(tensors, parameter);
    }
  }
  if (!left.empty())
    throw UsageError(fmt::format("{}: tensor {} belongs to no layer that {} names; is it an adapter of another model?",
                                 tensors.where(), peft_name(*left.begin()), kAdapterConfigFile));
  return values;
}

std::vector<TensorShape> adapter_shapes(const Model& model, at::ScalarType type) {
  std::vector<TensorShape> shapes;
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      if (parameter.trainable) shapes.push_back({peft_name(parameter.name), type, parameter.shape});
    }
  }
  return shapes;
}

}  // namespace lshdp::model
