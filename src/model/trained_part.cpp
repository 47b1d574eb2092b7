// Blocks reduced to what is trained of them.
#include "lshdp/model/trained_part.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>

#include "lshdp/model/quantized.h"

namespace lshdp::model {
namespace {

const Parameter& parameter_of(const Model& model, const std::string& name) {
  const ParameterPlace place = model.owner_of(name);
  return model.blocks[place.block]->parameters()[place.parameter];
}

class TrainedBlock final : public Block {
 public:
  TrainedBlock(const Model& model, const Block& whole) : name_(whole.name()) {
    const std::vector<Parameter>& all = whole.parameters();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (!all[i].trainable) continue;
      if (whole.looked_up() == i) looked_up_ = parameters_.size();
      parameters_.push_back(all[i]);
    }
    for (const std::string& name : whole.borrowed()) {
      if (parameter_of(model, name).trainable) borrowed_.push_back(name);
    }
  }

  const std::string& name() const override { return name_; }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  const std::vector<std::string>& borrowed() const override { return borrowed_; }
  std::optional<std::size_t> looked_up() const override { return looked_up_; }
  at::Tensor forward(const at::Tensor&, std::span<const at::Tensor>, const Pass&) const override { refuse(); }
  at::Tensor forward_next(const at::Tensor&, std::span<const at::Tensor>, BlockCache&, const Pass&) const override {
    refuse();
  }

 private:
  [[noreturn]] static void refuse() { throw std::logic_error("the trained part of a block computes nothing"); }

  std::string name_;
  std::vector<Parameter> parameters_;
  std::vector<std::string> borrowed_;
  std::optional<std::size_t> looked_up_;
};

}  // namespace

bool is_partly_frozen(const Model& model) {
  return std::ranges::any_of(model.blocks, [](const auto& block) {
    return std::ranges::any_of(block->parameters(), [](const auto& parameter) { return !parameter.trainable; });
  });
}

Model trained_part(const Model& model) {
  Model part;
  part.name = model.name;
  part.description = model.description;
  part.input = model.input;
  for (const auto& block : model.blocks) part.blocks.push_back(std::make_unique<TrainedBlock>(model, *block));
  return part;
}

std::int64_t frozen_bytes(const Block& block, std::int64_t element_size) {
  std::int64_t bytes = 0;
  for (const Parameter& parameter : block.parameters()) {
    if (parameter.trainable) continue;
    bytes += parameter.held == BasePrecision::full ? parameter.count() * element_size
                                                   : quantized_bytes(parameter.shape, parameter.held);
  }
  return bytes;
}

std::int64_t expanded_bytes(const Block& block, std::int64_t element_size) {
  std::int64_t bytes = 0;
  for (const Parameter& parameter : block.parameters()) {
    if (!parameter.trainable && parameter.held != BasePrecision::full) bytes += parameter.count() * element_size;
  }
  return bytes;
}

ParameterSplit split_of(const Model& model, std::size_t block) {
  ParameterSplit split;
  const auto add = [&](const Parameter& parameter) {
    if (parameter.trainable) {
      split.trained.emplace_back(split.numbers.size());
      split.numbers.push_back(split.trained.size() - 1);
    } else {
      split.trained.emplace_back(std::nullopt);
    }
  };
  for (const Parameter& parameter : model.blocks[block]->parameters()) add(parameter);
  for (const std::string& name : model.blocks[block]->borrowed()) add(parameter_of(model, name));
  return split;
}

}  // namespace lshdp::model
