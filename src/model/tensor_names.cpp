// Names as wrappers, older versions and other writers of the same models leave them.
#include "tensor_names.h"

#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/log.h"

namespace lshdp::model {
namespace {

constexpr std::string_view kPrefix = "transformer.";
constexpr const char* kHead = "lm_head.weight";

/// What DataParallel, DeepSpeed, PEFT, Lightning and others put in front of all names.
constexpr std::array<std::string_view, 4> kWrappers{"module.", "_forward_module.", "base_model.model.", "model."};
/// What torch.compile, FSDP and checkpointing put before the names of any module, also inside of others.
constexpr std::array<std::string_view, 3> kModuleWrappers{"_orig_mod.", "_fsdp_wrapped_module.",
                                                          "_checkpoint_wrapped_module."};

/// By the name without wrappers: the name in the source.
using Names = std::map<std::string, std::string>;

/// Removes `part` from wherever a component of the name begins.
std::string without(std::string name, std::string_view part) {
  for (std::size_t at = name.find(part); at != std::string::npos; at = name.find(part, at)) {
    if (at == 0 || name[at - 1] == '.')
      name.erase(at, part.size());
    else
      at += part.size();
  }
  return name;
}

template <typename Change>
Names renamed(const Names& names, const std::string& where, Change change) {
  Names changed;
  for (const auto& [name, original] : names) {
    const auto [found, fresh] = changed.emplace(change(name), original);
    if (!fresh)
      throw UsageError(
          fmt::format("{}: {} and {} are one tensor under the names of two wrappers", where, found->second, original));
  }
  return changed;
}

bool all_begin_with(const Names& names, std::string_view prefix) {
  return !names.empty() &&
         std::ranges::all_of(names, [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

/// Takes off what wrappers add, one after the other, and says so.
Names without_wrappers(Names names, const std::string& where) {
  std::vector<std::string_view> removed;
  for (const std::string_view part : kModuleWrappers) {
    Names changed = renamed(names, where, [&](const std::string& name) { return without(name, part); });
    if (changed != names) removed.push_back(part);
    names = std::move(changed);
  }
  for (std::size_t i = 0; i < kWrappers.size(); ++i) {
    if (!all_begin_with(names, kWrappers[i])) continue;
    removed.push_back(kWrappers[i]);
    names = renamed(names, where, [&](const std::string& name) { return name.substr(kWrappers[i].size()); });
    i = static_cast<std::size_t>(-1);  // there may be another one below
  }
  if (!removed.empty())
    spdlog::info("{}: names of tensors are taken without the wrapper's {}", where, fmt::join(removed, ", "));
  return names;
}

std::string without_prefix(const std::string& name) {
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

/// Names that another version gave the same parameter.
std::vector<std::string> names_of(const std::string& name) {
  std::vector<std::string> names{name};
  if (name.starts_with(kPrefix)) names.push_back(without_prefix(name));
  // torchvision before 0.12, whose files are still those that it downloads.
  for (const auto& [now, then] : {std::pair(".mlp.0.", ".mlp.linear_1."), std::pair(".mlp.3.", ".mlp.linear_2.")}) {
    const std::size_t at = name.find(now);
    if (at != std::string::npos) names.push_back(std::string(name).replace(at, std::string_view(now).size(), then));
  }
  return names;
}

/// Takes a parameter's name out of `names`; empty if it is not there.
std::string take(Names& names, const std::string& wanted) {
  for (const std::string& name : names_of(wanted)) {
    const auto found = names.find(name);
    if (found == names.end()) continue;
    std::string original = found->second;
    names.erase(found);
    return original;
  }
  return {};
}

/// Hugging Face's causal masks: "h.0.attn.bias", "h.0.attn.masked_bias".
bool is_mask(const std::string& name) {
  const std::string plain = without_prefix(name);
  return plain.starts_with("h.") && (plain.ends_with(".attn.bias") || plain.ends_with(".attn.masked_bias"));
}

/// What a name that does not belong to the model tells about the file; empty: nothing.
std::string explanation(const std::string& name, bool gpt) {
  if (name.find("lora_") != std::string::npos)
    return "it is of a LoRA adapter; merge it into its base model first (in Python: model.merge_and_unload())";
  if (!gpt && (name.starts_with("vit.") || name.starts_with("embeddings.") || name.starts_with("encoder.layer.")))
    return "it is of Hugging Face's ViT; lshdp reads torchvision's VisionTransformer";
  if (!gpt && (name.starts_with("blocks.") || name == "cls_token" || name.starts_with("patch_embed.")))
    return "it is of timm's VisionTransformer; lshdp reads torchvision's";
  return {};
}

[[noreturn]] void refuse_missing(const std::string& wanted, const Names& left, bool gpt, const std::string& where) {
  for (const auto& [name, original] : left) {
    if (const std::string words = explanation(name, gpt); !words.empty())
      throw UsageError(fmt::format("{} holds tensor {}: {}", where, original, words));
    for (const std::string& known : names_of(wanted)) {
      if (name.ends_with("." + known))
        throw UsageError(
            fmt::format("{}: tensor {} is missing, but {} is there; take '{}' off the names of all tensors", where,
                        wanted, original, original.substr(0, original.size() - known.size())));
    }
  }
  throw UsageError(fmt::format("{}: tensor {} is missing; are these weights of another model?{}", where, wanted,
                               left.empty() ? "" : fmt::format(" They hold {}", left.begin()->second)));
}

void require_nothing_left(const Names& left, bool gpt, const std::string& where) {
  for (const auto& [name, original] : left) {
    if (gpt && is_mask(name)) continue;
    const std::string words = explanation(name, gpt);
    throw UsageError(fmt::format("{}: tensor {} is not in the model; {}", where, original,
                                 words.empty() ? "are these weights of another model?" : words));
  }
}

}  // namespace

MatchedNames match_names(const Model& model, const TensorSource& source) {
  Names left;
  for (const std::string& name : source.names()) left.emplace(name, name);
  left = without_wrappers(std::move(left), source.where());
  const bool gpt = model.input.kind == InputSpec::Kind::tokens;
  MatchedNames matched;
  if (gpt) matched.head = take(left, kHead);
  for (const auto& block : model.blocks) {
    std::vector<std::string>& names = matched.of_parameters.emplace_back();
    for (const Parameter& parameter : block->parameters()) {
      std::string name = take(left, parameter.name);
      if (name.empty() && parameter.name == kEmbedding && !matched.head.empty()) {
        spdlog::info("{}: {} is there alone, and is the embedding tied to it as well", source.where(), matched.head);
        name = std::exchange(matched.head, {});
      }
      if (name.empty()) refuse_missing(parameter.name, left, gpt, source.where());
      names.push_back(std::move(name));
    }
  }
  require_nothing_left(left, gpt, source.where());
  return matched;
}

}  // namespace lshdp::model
