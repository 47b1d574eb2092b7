// Names as wrappers, older versions and other writers of the same models leave them.
#include "tensor_names.h"

#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/model/traced.h"

namespace lshdp::model {
namespace {

constexpr const char* kHead = "lm_head.weight";

/// What is known of a model of texts by the names of Hugging Face; all empty: the model is another one.
struct TextNames {
  std::string embedding;  // "transformer.wte.weight"
  std::string prefix;     // before all names but the head's: "transformer."
  bool tied = false;      // the head is the embedding
};

TextNames text_names(const Model& model) {
  if (model.input.kind != InputSpec::Kind::tokens || is_traced(model)) return {};
  const Block& first = *model.blocks.front();
  TextNames names;
  names.embedding = first.parameters().at(first.looked_up().value()).name;
  names.prefix = names.embedding.substr(0, names.embedding.find('.') + 1);
  names.tied = std::ranges::count(model.blocks.back()->borrowed(), names.embedding) > 0;
  return names;
}

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

/// Whether all names stand behind `wrapper`, which may be what names of the model begin with anyway: then only if it is
/// there twice.
bool is_wrapped(const Names& names, std::string_view wrapper, std::string_view prefix) {
  if (!all_begin_with(names, wrapper)) return false;
  const std::string twice = std::string(wrapper) + std::string(prefix);
  return wrapper != prefix ||
         std::ranges::any_of(names, [&](const auto& entry) { return entry.first.starts_with(twice); });
}

/// Takes off what wrappers add, one after the other, and says so.
Names without_wrappers(Names names, std::string_view prefix, const std::string& where) {
  std::vector<std::string_view> removed;
  for (const std::string_view part : kModuleWrappers) {
    Names changed = renamed(names, where, [&](const std::string& name) { return without(name, part); });
    if (changed != names) removed.push_back(part);
    names = std::move(changed);
  }
  for (std::size_t i = 0; i < kWrappers.size(); ++i) {
    if (!is_wrapped(names, kWrappers[i], prefix)) continue;
    removed.push_back(kWrappers[i]);
    names = renamed(names, where, [&](const std::string& name) { return name.substr(kWrappers[i].size()); });
    i = static_cast<std::size_t>(-1);  // there may be another one below
  }
  if (!removed.empty())
    spdlog::info("{}: names of tensors are taken without the wrapper's {}", where, fmt::join(removed, ", "));
  return names;
}

std::string without_prefix(const std::string& name, const std::string& prefix) {
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

/// Names that another version, or a model without its head, gave the same parameter.
std::vector<std::string> names_of(const std::string& name, const std::string& prefix) {
  std::vector<std::string> names{name};
  if (!prefix.empty() && name.starts_with(prefix)) names.push_back(without_prefix(name, prefix));
  // torchvision before 0.12, whose files are still those that it downloads.
  for (const auto& [now, then] : {std::pair(".mlp.0.", ".mlp.linear_1."), std::pair(".mlp.3.", ".mlp.linear_2.")}) {
    const std::size_t at = name.find(now);
    if (at != std::string::npos) names.push_back(std::string(name).replace(at, std::string_view(now).size(), then));
  }
  return names;
}

/// Takes a parameter's name out of `names`; empty if it is not there.
std::string take(Names& names, const std::string& wanted, const std::string& prefix) {
  for (const std::string& name : names_of(wanted, prefix)) {
    const auto found = names.find(name);
    if (found == names.end()) continue;
    std::string original = found->second;
    names.erase(found);
    return original;
  }
  return {};
}

/// What Hugging Face's models of texts compute anew: GPT-2's causal masks ("h.0.attn.bias", "h.0.attn.masked_bias") and
/// the frequencies of rotary positions ("layers.0.self_attn.rotary_emb.inv_freq").
bool is_computed(const std::string& name, const TextNames& text) {
  const std::string plain = without_prefix(name, text.prefix);
  if (plain.starts_with("h.")) return plain.ends_with(".attn.bias") || plain.ends_with(".attn.masked_bias");
  return plain.ends_with("rotary_emb.inv_freq");
}

/// What a name that does not belong to the model tells about the file; empty: nothing.
std::string explanation(const std::string& name, bool of_texts) {
  if (name.find("lora_") != std::string::npos)
    return "it is of a LoRA adapter; give its folder as --adapter beside its base model, or merge the two with lshdp "
           "merge-lora";
  if (!of_texts && (name.starts_with("vit.") || name.starts_with("embeddings.") || name.starts_with("encoder.layer.")))
    return "it is of Hugging Face's ViT; lshdp reads torchvision's VisionTransformer";
  if (!of_texts && (name.starts_with("blocks.") || name == "cls_token" || name.starts_with("patch_embed.")))
    return "it is of timm's VisionTransformer; lshdp reads torchvision's";
  return {};
}

[[noreturn]] void refuse_missing(const std::string& wanted, const Names& left, const TextNames& text,
                                 const std::string& where) {
  for (const auto& [name, original] : left) {
    if (const std::string words = explanation(name, !text.embedding.empty()); !words.empty())
      throw UsageError(fmt::format("{} holds tensor {}: {}", where, original, words));
    for (const std::string& known : names_of(wanted, text.prefix)) {
      if (name.ends_with("." + known))
        throw UsageError(
            fmt::format("{}: tensor {} is missing, but {} is there; take '{}' off the names of all tensors", where,
                        wanted, original, original.substr(0, original.size() - known.size())));
    }
  }
  if (wanted == kHead)
    throw UsageError(fmt::format(
        "{}: tensor {} is missing; if the head is tied to the embedding, set \"tie_word_embeddings\" to true "
        "in the model's description",
        where, wanted));
  throw UsageError(fmt::format("{}: tensor {} is missing; are these weights of another model?{}", where, wanted,
                               left.empty() ? "" : fmt::format(" They hold {}", left.begin()->second)));
}

void require_nothing_left(const Names& left, const TextNames& text, const std::string& where) {
  const bool of_texts = !text.embedding.empty();
  for (const auto& [name, original] : left) {
    if (of_texts && is_computed(name, text)) continue;
    const std::string words = explanation(name, of_texts);
    throw UsageError(fmt::format("{}: tensor {} is not in the model; {}", where, original,
                                 words.empty() ? "are these weights of another model?" : words));
  }
}

}  // namespace

MatchedNames match_names(const Model& model, const TensorSource& source, std::span<const std::string> dispensable) {
  Names left;
  for (const std::string& name : source.names()) left.emplace(name, name);
  const TextNames text = text_names(model);
  // What a user's model calls its parts may be what wrappers are called.
  if (!is_traced(model)) left = without_wrappers(std::move(left), text.prefix, source.where());
  MatchedNames matched;
  if (text.tied) matched.head = take(left, kHead, text.prefix);
  for (const auto& block : model.blocks) {
    std::vector<std::string>& names = matched.of_parameters.emplace_back();
    for (const Parameter& parameter : block->parameters()) {
      std::string name = take(left, parameter.name, text.prefix);
      if (name.empty() && parameter.name == text.embedding && !matched.head.empty()) {
        spdlog::info("{}: {} is there alone, and is the embedding tied to it as well", source.where(), matched.head);
        name = std::exchange(matched.head, {});
      }
      if (name.empty() && std::ranges::find(dispensable, parameter.name) == dispensable.end())
        refuse_missing(parameter.name, left, text, source.where());
      names.push_back(std::move(name));
    }
  }
  require_nothing_left(left, text, source.where());
  return matched;
}

}  // namespace lshdp::model
