// A model's parameters in and out of files.
#include "lshdp/model/weights.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/model/fine_tuning.h"
#include "lshdp/model/safetensors.h"
#include "tensor_names.h"

namespace lshdp::model {
namespace {

bool is_readable(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
}

}  // namespace

void require_finite(const at::Tensor& value, const std::string& name, const std::string& where) {
  if (value.isfinite().all().item<bool>()) return;
  const std::int64_t nans = value.isnan().sum().item<std::int64_t>();
  const std::int64_t infinite = value.isinf().sum().item<std::int64_t>();
  throw UsageError(
      fmt::format("{}: tensor {} is not finite: {} NaN and {} infinite of {} values; such weights predict "
                  "nothing",
                  where, name, nans, infinite, value.numel()));
}

WeightReader::WeightReader(const Model& model, TensorSource& source, const WeightChanges& changes)
    : model_(model), source_(source), changes_(changes), classification_head_(classification_head(model)) {
  if (changes.new_head) require_new_head(model);
  MatchedNames matched =
      match_names(model, source, changes.new_head ? classification_head_ : std::vector<std::string>());
  names_ = std::move(matched.of_parameters);
  head_ = std::move(matched.head);
}

bool WeightReader::is_fresh(const Parameter& parameter) const {
  return changes_.new_head && std::ranges::find(classification_head_, parameter.name) != classification_head_.end();
}

at::Tensor WeightReader::fresh(std::size_t block, std::size_t parameter) {
  const Parameter& wanted = model_.blocks[block]->parameters()[parameter];
  if (!std::exchange(told_of_head_, true)) {
    const std::string& name = names_[block][parameter];
    spdlog::info("--new-head: a fresh head of {} classes; {} has {}", wanted.shape.front(), source_.where(),
                 name.empty() ? "none" : fmt::format("one of {}", source_.read(name).size(0)));
  }
  return initial_value(wanted, changes_.seed);
}

/// With what would help.
void WeightReader::refuse_shape(const std::string& name, const at::Tensor& tensor, const Parameter& parameter) const {
  const std::string found = fmt::format("{}: tensor {} has shape [{}], the model needs [{}]", source_.where(), name,
                                        fmt::join(tensor.sizes().vec(), ", "), fmt::join(parameter.shape, ", "));
  const bool same_width = tensor.dim() == std::ssize(parameter.shape) && tensor.dim() > 0 &&
                          tensor.sizes().slice(1).equals(at::IntArrayRef(parameter.shape).slice(1));
  if (same_width && std::ranges::find(classification_head_, parameter.name) != classification_head_.end())
    throw UsageError(
        fmt::format("{}: it is the head of {} classes, not {}; lshdp train --new-head begins with a fresh one", found,
                    tensor.size(0), parameter.shape.front()));
  if (is_positions(model_, parameter) && side_of_positions(tensor) > 0)
    throw UsageError(fmt::format("{}: it is of images of another size; lshdp train --init interpolates it", found));
  throw UsageError(found);
}

at::Tensor WeightReader::checked(const std::string& name, const Parameter& parameter) {
  const at::Tensor tensor = source_.read(name);
  if (tensor.sizes() != at::IntArrayRef(parameter.shape) && !fits_interpolated(tensor, parameter))
    refuse_shape(name, tensor, parameter);
  if (!is_readable(tensor.scalar_type())) {
    throw UsageError(fmt::format("{}: tensor {} has type {}, which is no floating type of 2, 4 or 8 bytes",
                                 source_.where(), name, c10::toString(tensor.scalar_type())));
  }
  require_finite(tensor, name, source_.where());
  return tensor;
}

/// The wider of the embedding and of the head that a file holds beside it. A head of its own would be another model.
at::Tensor WeightReader::tied(const at::Tensor& embedding, const Parameter& parameter) {
  const at::Tensor head = checked(head_, parameter);
  const bool head_is_wider = head.element_size() > embedding.element_size();
  const at::Tensor& wide = head_is_wider ? head : embedding;
  const at::Tensor& narrow = head_is_wider ? embedding : head;
  if (!wide.to(narrow.scalar_type()).equal(narrow))
    throw UsageError(
        fmt::format("{}: {} differs from the embedding; only heads tied to it are supported", source_.where(), head_));
  if (wide.scalar_type() != narrow.scalar_type())
    spdlog::info("{}: {} is the embedding in another type; the wider of the two is taken for both", source_.where(),
                 head_);
  return wide;
}

at::Tensor WeightReader::read(std::size_t block, std::size_t parameter) {
  const Parameter& wanted = model_.blocks[block]->parameters()[parameter];
  if (is_fresh(wanted)) return fresh(block, parameter);
  at::Tensor tensor = checked(names_[block][parameter], wanted);
  const bool embedding = block == 0 && model_.blocks[block]->looked_up() == parameter;
  if (embedding && !head_.empty()) tensor = tied(tensor, wanted);
  tensor = tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
  return tensor.sizes() == at::IntArrayRef(wanted.shape) ? tensor : interpolated(tensor);
}

bool WeightReader::fits_interpolated(const at::Tensor& tensor, const Parameter& parameter) const {
  return changes_.image_size && is_positions(model_, parameter) && side_of_positions(tensor) > 0 &&
         tensor.size(2) == parameter.shape[2];
}

/// Positions of a ViT.
at::Tensor WeightReader::interpolated(const at::Tensor& positions) {
  const std::int64_t image = model_.input.image_size, patch = model_.description.at("patch_size").get<std::int64_t>();
  const std::int64_t side = image / patch, old = side_of_positions(positions);
  if (!std::exchange(told_of_positions_, true))
    spdlog::info("{}: positions of {} x {} patches (images of {}) are interpolated to {} x {} (images of {})",
                 source_.where(), old, old, old * patch, side, side, image);
  return interpolated_positions(positions, side);
}

Values read_weights(const Model& model, TensorSource& source) {
  WeightReader reader(model, source);
  Values values;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    values.emplace_back();
    for (std::size_t i = 0; i < model.blocks[block]->parameters().size(); ++i)
      values.back().push_back(reader.read(block, i));
  }
  return values;
}

Values read_weights(const Model& model, const std::filesystem::path& path) {
  const std::unique_ptr<TensorSource> file = open_safetensors(path);
  return read_weights(model, *file);
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

std::vector<TensorShape> tensor_shapes(const Model& model, at::ScalarType type) {
  std::vector<TensorShape> shapes;
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) shapes.push_back({parameter.name, type, parameter.shape});
  }
  return shapes;
}

Values initial_values(const Model& model, std::uint64_t seed) {
  const BlockValues source = initial_block_values(model, seed);
  Values values;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) values.push_back(source(block));
  return values;
}

BlockValues initial_block_values(const Model& model, std::uint64_t seed) {
  return [&model, seed](std::size_t block) {
    std::vector<at::Tensor> values;
    for (const Parameter& parameter : model.blocks[block]->parameters())
      values.push_back(initial_value(parameter, seed));
    return values;
  };
}

}  // namespace lshdp::model
