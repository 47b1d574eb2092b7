// Matching a file's tensors with a model's parameters.
#include "lshdp/model/weights.h"

#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/model/safetensors.h"

namespace lshdp::model {
namespace {

constexpr std::string_view kPrefix = "transformer.";
constexpr const char* kEmbedding = "transformer.wte.weight";

std::string without_prefix(const std::string& name) {
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

/// Hugging Face's causal masks: "h.0.attn.bias", "h.0.attn.masked_bias".
bool is_mask(const std::string& name) {
  const std::string plain = without_prefix(name);
  return plain.starts_with("h.") && (plain.ends_with(".attn.bias") || plain.ends_with(".attn.masked_bias"));
}

/// Takes the tensor out of `tensors`, under its name or without the prefix; undefined if there is none.
at::Tensor take(NamedTensors& tensors, const std::string& name) {
  auto found = tensors.find(name);
  if (found == tensors.end()) found = tensors.find(without_prefix(name));
  if (found == tensors.end()) return {};
  at::Tensor tensor = std::move(found->second);
  tensors.erase(found);
  return tensor;
}

at::Tensor checked(const at::Tensor& tensor, const Parameter& parameter, const std::string& source) {
  if (!tensor.defined()) {
    throw UsageError(
        fmt::format("{}: tensor {} is missing; are these weights of another model?", source, parameter.name));
  }
  if (tensor.sizes() != at::IntArrayRef(parameter.shape)) {
    throw UsageError(fmt::format("{}: tensor {} has shape [{}], the model needs [{}]", source, parameter.name,
                                 fmt::join(tensor.sizes().vec(), ", "), fmt::join(parameter.shape, ", ")));
  }
  if (!tensor.is_floating_point()) {
    throw UsageError(fmt::format("{}: tensor {} has type {}, which is no floating type", source, parameter.name,
                                 c10::toString(tensor.scalar_type())));
  }
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

/// Files may hold the tied head again; a head of its own would be another model.
void drop_tied_head(NamedTensors& tensors, const at::Tensor& embedding, const std::string& source) {
  const at::Tensor head = take(tensors, "lm_head.weight");
  if (!head.defined()) return;
  if (head.sizes() == embedding.sizes() && head.to(embedding.scalar_type()).equal(embedding)) return;
  throw UsageError(
      fmt::format("{}: lm_head.weight differs from the embedding; only heads tied to it are supported", source));
}

void require_nothing_left(NamedTensors tensors, bool gpt, const std::string& source) {
  if (gpt) std::erase_if(tensors, [](const auto& entry) { return is_mask(entry.first); });
  if (tensors.empty()) return;
  throw UsageError(fmt::format("{}: tensor {} is not in the model; are these weights of another model?", source,
                               tensors.begin()->first));
}

}  // namespace

Values read_weights(const Model& model, const std::filesystem::path& path) {
  const std::string source = path.string();
  NamedTensors tensors = read_safetensors(path);
  Values values;
  at::Tensor embedding;
  for (const auto& block : model.blocks) {
    values.emplace_back();
    for (const Parameter& parameter : block->parameters()) {
      values.back().push_back(checked(take(tensors, parameter.name), parameter, source));
      if (parameter.name == kEmbedding) embedding = values.back().back();
    }
  }
  if (embedding.defined()) drop_tied_head(tensors, embedding, source);
  require_nothing_left(std::move(tensors), embedding.defined(), source);
  return values;
}

void write_weights(const Model& model, const Values& values, const std::filesystem::path& path) {
  if (values.size() != model.blocks.size()) throw std::invalid_argument("write_weights: one list of values per block");
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (std::size_t b = 0; b < values.size(); ++b) {
    const auto& parameters = model.blocks[b]->parameters();
    if (values[b].size() != parameters.size()) throw std::invalid_argument("write_weights: one value per parameter");
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (values[b][i].sizes() != at::IntArrayRef(parameters[i].shape)) {
        throw std::invalid_argument("write_weights: wrong shape of " + parameters[i].name);
      }
      named.emplace_back(parameters[i].name, values[b][i]);
    }
  }
  write_safetensors(path, named);
}

Values initial_values(const Model& model, std::uint64_t seed) {
  Values values;
  for (const auto& block : model.blocks) {
    values.emplace_back();
    for (const Parameter& parameter : block->parameters()) values.back().push_back(initial_value(parameter, seed));
  }
  return values;
}

}  // namespace lshdp::model
