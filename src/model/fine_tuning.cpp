// Models whose parameters are trained in other ways than the model itself says.
#include "lshdp/model/fine_tuning.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"
#include "lshdp/model/lora.h"

namespace lshdp::model {
namespace {

constexpr const char* kPositions = "encoder.pos_embedding";

/// A block that says something else of its parameters.
class RelabelledBlock final : public Block {
 public:
  RelabelledBlock(std::unique_ptr<Block> base, std::vector<Parameter> parameters)
      : base_(std::move(base)), parameters_(std::move(parameters)) {}

  const std::string& name() const override { return base_->name(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  const std::vector<std::string>& borrowed() const override { return base_->borrowed(); }
  std::optional<std::size_t> looked_up() const override { return base_->looked_up(); }
  at::Tensor forward(const at::Tensor& input, std::span<const at::Tensor> parameters, const Pass& pass) const override {
    return base_->forward(input, parameters, pass);
  }
  at::Tensor forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters, BlockCache& cache,
                          const Pass& pass) const override {
    return base_->forward_next(input, parameters, cache, pass);
  }

 private:
  std::unique_ptr<Block> base_;
  std::vector<Parameter> parameters_;
};

/// Changes each parameter by change(block, parameter).
template <typename Change>
Model relabelled(Model base, Change change) {
  for (std::size_t block = 0; block < base.blocks.size(); ++block) {
    std::vector<Parameter> parameters = base.blocks[block]->parameters();
    for (Parameter& parameter : parameters) change(block, parameter);
    base.blocks[block] = std::make_unique<RelabelledBlock>(std::move(base.blocks[block]), std::move(parameters));
  }
  return base;
}

bool matches(const std::string& pattern, const std::string& name) {
  return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::vector<std::string> names_of(const Model& model) {
  std::vector<std::string> names;
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) names.push_back(parameter.name);
  }
  return names;
}

/// What could have been meant: each name, and each beginning of one with a star.
std::vector<std::string> patterns_for(const std::vector<std::string>& names) {
  std::set<std::string> patterns(names.begin(), names.end());
  for (const std::string& name : names) {
    for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
      patterns.insert(name.substr(0, dot + 1) + "*");
  }
  return {patterns.begin(), patterns.end()};
}

void require_matches(const Model& model, const std::vector<std::string>& patterns, const std::string& source) {
  const std::vector<std::string> names = names_of(model);
  for (const std::string& pattern : patterns) {
    if (std::ranges::any_of(names, [&](const std::string& name) { return matches(pattern, name); })) continue;
    throw UsageError(fmt::format("{}: '{}' matches no parameter of {}, whose first is {} and last {}{}", source,
                                 pattern, model.name, names.front(), names.back(),
                                 did_you_mean(pattern, patterns_for(names))));
  }
}

/// "attention 3" -> 3.
std::optional<std::int64_t> number_in(const std::string& block) {
  const std::size_t blank = block.rfind(' ');
  if (blank == std::string::npos || block.find_first_not_of("0123456789", blank + 1) != std::string::npos)
    return std::nullopt;
  return parse_int(block.substr(blank + 1), block);
}

std::string type_of(const Model& model) { return model.description.value("type", std::string()); }

}  // namespace

Model with_frozen(Model base, const std::vector<std::string>& patterns, const std::string& source) {
  if (lora_of(base))
    throw UsageError(
        fmt::format("{}: of {}, the adapters alone are trained: all else stays as it is already", source, base.name));
  require_matches(base, patterns, source);
  base = relabelled(std::move(base), [&](std::size_t, Parameter& parameter) {
    const auto frozen = [&](const std::string& pattern) { return matches(pattern, parameter.name); };
    parameter.trainable = std::ranges::none_of(patterns, frozen);
  });
  if (base.trained_count() == 0)
    throw UsageError(
        fmt::format("{}: all parameters of {} would stay as they are: nothing is left to train", source, base.name));
  base.description[kFreezeKey] = patterns;
  return base;
}

std::vector<std::string> frozen_patterns(const Model& model) {
  return json_value_or<std::vector<std::string>>(model.description, kFreezeKey, {}, model.name);
}

Model with_layer_decay(Model base, double factor) {
  const std::set<std::string> known{"vit", "gpt2", "llama", "qwen2", "mistral"};
  if (!known.contains(type_of(base)))
    throw UsageError(
        fmt::format("--layer-decay: which layers {} has is not known; it is for ViT, GPT-2 and Llama", base.name));
  std::int64_t layers = 0;
  for (const auto& block : base.blocks) layers = std::max(layers, number_in(block->name()).value_or(-1) + 1);
  std::vector<double> rates;  // by block
  for (std::size_t block = 0; block < base.blocks.size(); ++block) {
    const std::optional<std::int64_t> number = number_in(base.blocks[block]->name());
    const std::int64_t layer = number ? *number + 1 : block == 0 ? 0 : layers + 1;
    rates.push_back(std::pow(factor, static_cast<double>(layers + 1 - layer)));
  }
  return relabelled(std::move(base), [&](std::size_t block, Parameter& parameter) { parameter.rate = rates[block]; });
}

Model with_dropout(const Model& base, double dropout, double stochastic_depth) {
  if (type_of(base) != "vit")
    throw UsageError(fmt::format("{}: {} has none while it trains; it is for ViT",
                                 dropout > 0 ? "--dropout" : "--stochastic-depth", base.name));
  Json description = base.description;
  if (dropout > 0) description[kDropoutKey] = dropout;
  if (stochastic_depth > 0) description[kStochasticDepthKey] = stochastic_depth;
  Model made = make_model_from_json(description, base.name);
  made.dropout = base.dropout;
  return made;
}

std::vector<std::string> classification_head(const Model& model) {
  if (type_of(model) != "vit" && type_of(model) != "mlp") return {};
  std::vector<std::string> names;
  for (const Parameter& parameter : model.blocks.back()->parameters()) {
    if (type_of(model) == "mlp" || parameter.name.starts_with("heads.")) names.push_back(parameter.name);
  }
  return names;
}

void require_new_head(const Model& model) {
  const std::vector<std::string> head = classification_head(model);
  if (head.empty())
    throw UsageError(
        fmt::format("--new-head: {} has no head of classes that is known; it is for ViT and MLP", model.name));
  for (const Parameter& parameter : model.blocks.back()->parameters()) {
    if (!parameter.trainable && std::ranges::find(head, parameter.name) != head.end())
      throw UsageError(
          fmt::format("--freeze: {} is fresh with --new-head, and would stay as it is drawn", parameter.name));
  }
}

bool is_positions(const Model& model, const Parameter& parameter) {
  return type_of(model) == "vit" && parameter.name == kPositions;
}

std::int64_t side_of_positions(const at::Tensor& positions) {
  if (positions.dim() != 3 || positions.size(0) != 1) return 0;
  const std::int64_t patches = positions.size(1) - 1;
  const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(patches))));
  return side * side == patches ? side : 0;
}

at::Tensor interpolated_positions(const at::Tensor& positions, std::int64_t side) {
  const std::int64_t old = side_of_positions(positions), width = positions.size(2);
  const at::Tensor token = positions.narrow(1, 0, 1);
  const at::Tensor grid = positions.narrow(1, 1, old * old).permute({0, 2, 1}).reshape({1, width, old, old});
  const at::Tensor larger = at::upsample_bicubic2d(grid, {side, side}, /*align_corners=*/true);
  return at::cat({token, larger.reshape({1, width, side * side}).permute({0, 2, 1})}, 1).contiguous();
}

}  // namespace lshdp::model
