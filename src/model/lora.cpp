// Adapters beside the linear layers of any model's blocks.
#include "lshdp/model/lora.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <stdexcept>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "layers.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/mix.h"
#include "lshdp/core/text.h"
#include "lshdp/model/traced.h"

namespace lshdp::model {
namespace {

constexpr std::string_view kOption = "--lora", kAllLinear = "all-linear";
constexpr std::int64_t kLargestRank = 4096;

/// An adapter of a block: of which of its weights, and with what.
struct BlockAdapter {
  std::size_t weight = 0;  // of the base block's parameters
  double scale = 0, dropout = 0;
  std::uint64_t layer = 0;  // for dropout
};

std::vector<Parameter> adapted_parameters(const Block& base, const std::vector<LinearLayer>& layers, std::int64_t rank,
                                          BasePrecision held) {
  std::vector<Parameter> parameters = base.parameters();
  for (Parameter& parameter : parameters) {
    parameter.trainable = false;
    if (parameter.product != Product::none) parameter.held = held;
  }
  for (const LinearLayer& layer : layers) {
    // PEFT draws A as torch.nn.Linear draws its weight.
    parameters.push_back(parameter(layer.name + ".lora_A.weight", {rank, layer.in}, linear_default(layer.in)));
    parameters.push_back(parameter(layer.name + ".lora_B.weight", {layer.out, rank}, kZeros));
  }
  return parameters;
}

/// A block whose own parameters are not trained, with adapters beside its linear layers.
class AdaptedBlock final : public Block {
 public:
  AdaptedBlock(std::unique_ptr<Block> base, const std::vector<LinearLayer>& layers, const LoraSettings& settings,
               BasePrecision held)
      : base_(std::move(base)), parameters_(adapted_parameters(*base_, layers, settings.rank, held)) {
    for (const LinearLayer& layer : layers)
      adapters_.push_back({layer.weight.parameter, settings.scale(), settings.dropout, hash_of(layer.name)});
  }

  const std::string& name() const override { return base_->name(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  const std::vector<std::string>& borrowed() const override { return base_->borrowed(); }
  std::optional<std::size_t> looked_up() const override { return base_->looked_up(); }

  at::Tensor forward(const at::Tensor& input, std::span<const at::Tensor> parameters, const Pass& pass) const override {
    const std::vector<Adapter> adapters = adapters_of(parameters);
    return base_->forward(input, of_base(parameters), {pass.dropout, adapters, pass.documents});
  }
  at::Tensor forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters, BlockCache& cache,
                          const Pass& pass) const override {
    const std::vector<Adapter> adapters = adapters_of(parameters);
    return base_->forward_next(input, of_base(parameters), cache, {pass.dropout, adapters});
  }

 private:
  std::size_t own() const { return base_->parameters().size(); }

  void require_count(std::span<const at::Tensor> parameters) const {
    const std::size_t expected = parameters_.size() + borrowed().size();
    if (parameters.size() != expected)
      throw std::invalid_argument(
          fmt::format("block {}: {} parameters given, {} wanted", name(), parameters.size(), expected));
  }
  std::vector<Adapter> adapters_of(std::span<const at::Tensor> parameters) const {
    require_count(parameters);
    std::vector<Adapter> adapters;
    for (std::size_t i = 0; i < adapters_.size(); ++i) {
      const BlockAdapter& mine = adapters_[i];
      adapters.push_back({.weight = mine.weight,
                          .a = parameters[own() + 2 * i],
                          .b = parameters[own() + 2 * i + 1],
                          .scale = mine.scale,
                          .dropout = mine.dropout,
                          .layer = mine.layer});
    }
    return adapters;
  }
  /// Its own, then those that it borrows.
  std::vector<at::Tensor> of_base(std::span<const at::Tensor> parameters) const {
    std::vector<at::Tensor> list(parameters.begin(), parameters.begin() + static_cast<std::ptrdiff_t>(own()));
    const std::span<const at::Tensor> rest = parameters.subspan(parameters_.size());
    list.insert(list.end(), rest.begin(), rest.end());
    return list;
  }

  std::unique_ptr<Block> base_;
  std::vector<Parameter> parameters_;
  std::vector<BlockAdapter> adapters_;
};

bool ends_with_name(const std::string& layer, const std::string& target) {
  return layer == target || layer.ends_with("." + target);
}

[[noreturn]] void refuse_target(const Model& model, const std::string& target, const std::string& source) {
  const std::vector<LinearLayer> layers = linear_layers(model);
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      const std::string layer = parameter.name.substr(0, parameter.name.rfind('.'));
      if (ends_with_name(layer, target))
        throw UsageError(fmt::format("{}: target '{}' is no linear layer; {} has the linear layers {}", source, target,
                                     model.name, fmt::join(target_names(layers), ", ")));
    }
  }
  throw UsageError(fmt::format("{}: {} has no layer '{}'; its linear layers are {}{}", source, model.name, target,
                               fmt::join(target_names(layers), ", "), did_you_mean(target, target_names(layers))));
}

void require_settings(const LoraSettings& settings, const std::string& source) {
  if (settings.rank == 0) throw UsageError(fmt::format("{}: r is missing, or 0: the rank of the adapters", source));
  if (settings.rank < 1 || settings.rank > kLargestRank)
    throw UsageError(fmt::format("{}: r is {}; it must be from 1 to {}", source, settings.rank, kLargestRank));
  if (!(settings.alpha > 0))
    throw UsageError(fmt::format("{}: alpha is {}; it must be above 0", source, settings.alpha));
  if (!(settings.dropout >= 0 && settings.dropout < 1))
    throw UsageError(fmt::format("{}: dropout is {}; it must be at least 0 and below 1", source, settings.dropout));
  if (settings.targets.empty())
    throw UsageError(fmt::format("{}: targets is missing: names of linear layers, or {}", source, kAllLinear));
}

/// By key; an item without "=" is one more value of the key before it.
std::map<std::string, std::vector<std::string>> parse_items(const std::string& text) {
  std::map<std::string, std::vector<std::string>> items;
  std::string key;
  for (const std::string& item : split_list(text, kOption)) {
    const std::size_t equals = item.find('=');
    if (equals != std::string::npos) {
      key = item.substr(0, equals);
      if (items.contains(key)) throw UsageError(fmt::format("{}: {} is given twice", kOption, key));
    } else if (key != "targets") {
      throw UsageError(
          fmt::format("{}: '{}' is no key=value; write r=16,alpha=32,targets=q_proj,v_proj", kOption, item));
    }
    items[key].push_back(equals == std::string::npos ? item : item.substr(equals + 1));
  }
  return items;
}

bool parse_bool(const std::string& text, const std::string& what) {
  if (text == "true") return true;
  if (text == "false") return false;
  throw UsageError(fmt::format("{} is '{}'; it must be true or false", what, text));
}

}  // namespace

double LoraSettings::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilized ? std::sqrt(r) : r);
}

LoraSettings parse_lora(const std::string& text) {
  LoraSettings settings;
  std::optional<double> alpha;
  for (const auto& [key, values] : parse_items(text)) {
    const std::string what = fmt::format("{} {}", kOption, key), &value = values.front();
    if (key == "r")
      settings.rank = parse_int(value, what);
    else if (key == "alpha")
      alpha = parse_double(value, what);
    else if (key == "dropout")
      settings.dropout = parse_double(value, what);
    else if (key == "rslora")
      settings.rank_stabilized = parse_bool(value, what);
    else if (key == "targets")
      settings.targets = values;
    else
      throw UsageError(fmt::format("{}: '{}' is no key; take r, alpha, dropout, rslora or targets{}", kOption, key,
                                   did_you_mean(key, {"r", "alpha", "dropout", "rslora", "targets"})));
  }
  settings.alpha = alpha.value_or(static_cast<double>(settings.rank));
  require_settings(settings, std::string(kOption));
  return settings;
}

std::string to_text(const LoraSettings& settings) {
  return fmt::format("r={},alpha={},dropout={}{},targets={}", settings.rank, settings.alpha, settings.dropout,
                     settings.rank_stabilized ? ",rslora=true" : "", fmt::join(settings.targets, ","));
}

bool same_adapters(const Model& base, const LoraSettings& a, const LoraSettings& b, const std::string& source) {
  const auto names = [&](const LoraSettings& settings) {
    std::vector<std::string> list;
    for (const LinearLayer& layer : targets_of(base, settings, source)) list.push_back(layer.name);
    return list;
  };
  LoraSettings other = b;
  other.targets = a.targets;
  return a == other && names(a) == names(b);
}

nlohmann::json to_json(const LoraSettings& settings) {
  return {{"r", settings.rank},          {"alpha", settings.alpha},
          {"dropout", settings.dropout}, {"rslora", settings.rank_stabilized},
          {"targets", settings.targets}, {"base_precision", to_text(settings.base)}};
}

LoraSettings lora_from_json(const nlohmann::json& object, const std::string& source) {
  LoraSettings settings;
  settings.rank = json_value<std::int64_t>(object, "r", source);
  settings.alpha = json_value<double>(object, "alpha", source);
  settings.dropout = json_value<double>(object, "dropout", source);
  settings.rank_stabilized = json_value<bool>(object, "rslora", source);
  settings.targets = json_value<std::vector<std::string>>(object, "targets", source);
  settings.base = base_precision_from_text(json_value_or<std::string>(object, "base_precision", "full", source));
  require_settings(settings, source);
  return settings;
}

std::vector<LinearLayer> linear_layers(const Model& model) {
  std::vector<LinearLayer> layers;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    const std::vector<Parameter>& parameters = model.blocks[block]->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& weight = parameters[i];
      if (weight.product == Product::none) continue;
      const bool by_columns = weight.product == Product::conv1d;
      layers.push_back({.name = layer_of(weight.name),
                        .weight = {block, i},
                        .product = weight.product,
                        .in = weight.shape[by_columns ? 0 : 1],
                        .out = weight.shape[by_columns ? 1 : 0]});
    }
  }
  return layers;
}

std::vector<std::string> target_names(const std::vector<LinearLayer>& layers) {
  std::vector<std::string> names;
  for (const LinearLayer& layer : layers) {
    std::size_t at = layer.name.rfind('.');
    // A number alone ("0") names too much.
    if (at != std::string::npos && layer.name.find_first_not_of("0123456789", at + 1) == std::string::npos)
      at = layer.name.rfind('.', at - 1);
    std::string name = at == std::string::npos ? layer.name : layer.name.substr(at + 1);
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

std::vector<LinearLayer> targets_of(const Model& model, const LoraSettings& settings, const std::string& source) {
  const std::vector<LinearLayer> layers = linear_layers(model);
  std::set<std::string> found;
  std::vector<LinearLayer> chosen;
  for (const LinearLayer& layer : layers) {
    bool wanted = false;
    for (const std::string& target : settings.targets) {
      const bool gives_logits = layer.weight.block + 1 == model.blocks.size();
      const bool named = target == kAllLinear ? !gives_logits : ends_with_name(layer.name, target);
      if (!named) continue;
      wanted = true;
      found.insert(target);
    }
    if (wanted) chosen.push_back(layer);
  }
  for (const std::string& target : settings.targets) {
    if (!found.contains(target)) refuse_target(model, target, source);
  }
  return chosen;
}

Model with_lora(Model base, const LoraSettings& settings, const std::string& source) {
  if (lora_of(base)) throw UsageError(fmt::format("{}: {} has adapters already", source, base.name));
  if (is_traced(base))
    throw UsageError(
        fmt::format("{}: {} was exported from PyTorch: which of its parameters are linear layers is not "
                    "known; adapters are for lshdp's own models",
                    source, base.name));
  std::vector<std::vector<LinearLayer>> by_block(base.blocks.size());
  for (LinearLayer& layer : targets_of(base, settings, source))
    by_block[layer.weight.block].push_back(std::move(layer));
  for (std::size_t block = 0; block < base.blocks.size(); ++block) {
    const bool gives_logits = block + 1 == base.blocks.size();
    base.blocks[block] = std::make_unique<AdaptedBlock>(std::move(base.blocks[block]), by_block[block], settings,
                                                        gives_logits ? BasePrecision::full : settings.base);
  }
  base.description[kLoraKey] = to_json(settings);
  return base;
}

std::optional<LoraSettings> lora_of(const Model& model) {
  if (!model.description.contains(kLoraKey)) return std::nullopt;
  return lora_from_json(model.description.at(kLoraKey), model.name);
}

Model base_of(const Model& model) {
  nlohmann::json description = model.description;
  description.erase(kLoraKey);
  return make_model_from_json(description, model.name);
}

at::Tensor weight_change(const at::Tensor& a, const at::Tensor& b, const LoraSettings& settings, Product product) {
  const at::ScalarType type = a.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor change = at::mm(b.to(type), a.to(type)) * settings.scale();
  return product == Product::conv1d ? change.t() : change;
}

}  // namespace lshdp::model
