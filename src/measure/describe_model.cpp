// Blocks, shapes, parameters and bytes of a model, by block and by rank.
#include "lshdp/measure/describe_model.h"

#include <limits>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/json.h"
#include "lshdp/core/text.h"
#include "lshdp/model/shapes.h"
#include "lshdp/parallel/placement.h"

namespace lshdp::measure {
namespace {

constexpr int kVersion = 1;
constexpr std::int64_t kParameterBytes = 4;  // fp32
constexpr std::int64_t kTrainingBytes = 16;  // the gradient and both moments, too

/// Whatever the number of ranks: a description is no run.
void require_of_model(const plan::Layout& layout, const model::Model& model, const std::string& source) {
  plan::require_fits(layout, parallel::layout_needs(model), std::numeric_limits<std::int64_t>::max(), source);
}

std::vector<RankDescription> describe_ranks(const model::Model& model, const plan::Layout& layout) {
  std::map<std::int64_t, RankDescription> ranks;
  for (const plan::Replica& replica : layout.replicas) {
    for (const plan::Stage& stage : replica.stages) {
      RankDescription& rank = ranks[stage.rank];
      rank.rank = stage.rank;
      rank.blocks.emplace_back(stage.start, stage.end);
      for (std::size_t block = stage.start; block < stage.end; ++block) rank.parameters += model.parameter_count(block);
    }
  }
  std::vector<RankDescription> rising;
  for (auto& [rank, description] : ranks) rising.push_back(std::move(description));
  return rising;
}

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("{}", fmt::join(shape, " x ")); }

std::string blocks_text(const RankDescription& rank) {
  std::vector<std::string> ranges;
  for (const auto& [start, end] : rank.blocks)
    ranges.push_back(end - start == 1 ? std::to_string(start) : fmt::format("{}..{}", start, end - 1));
  return fmt::format("{}", fmt::join(ranges, ", "));
}

/// Parameters and bytes, the last columns of both tables.
void add_figures(std::vector<std::string>& row, std::int64_t parameters) {
  row.push_back(format_count(parameters));
  row.push_back(format_size(parameter_bytes(parameters)));
  row.push_back(format_size(training_bytes(parameters)));
}

std::string block_table(const ModelDescription& description) {
  const bool placed = !description.ranks.empty();
  std::vector<std::string> header{"block", "name", "input", "output", "parameters", "fp32", "in training"};
  if (placed) header.emplace_back("ranks");
  Table table(header);
  for (std::size_t index = 0; index < description.blocks.size(); ++index) {
    const BlockDescription& block = description.blocks[index];
    std::vector<std::string> row{std::to_string(index), block.name, shape_text(block.input), shape_text(block.output)};
    add_figures(row, block.parameters);
    if (placed) row.push_back(fmt::format("{}", fmt::join(block.ranks, ", ")));
    table.add(std::move(row));
  }
  return table.to_string();
}

std::string rank_table(const ModelDescription& description) {
  Table table({"rank", "blocks", "parameters", "fp32", "in training"});
  for (const RankDescription& rank : description.ranks) {
    std::vector<std::string> row{std::to_string(rank.rank), blocks_text(rank)};
    add_figures(row, rank.parameters);
    table.add(std::move(row));
  }
  return table.to_string();
}

Json with_bytes(Json json, std::int64_t parameters) {
  json["parameters"] = parameters;
  json["parameter_bytes"] = parameter_bytes(parameters);
  json["training_bytes"] = training_bytes(parameters);
  return json;
}

}  // namespace

std::int64_t parameter_bytes(std::int64_t parameters) { return kParameterBytes * parameters; }
std::int64_t training_bytes(std::int64_t parameters) { return kTrainingBytes * parameters; }

ModelDescription describe_model(const model::Model& model, const plan::Layout* layout, const std::string& source) {
  if (layout != nullptr) require_of_model(*layout, model, source);
  ModelDescription description{.model = model.name, .parameters = model.parameter_count(), .blocks = {}};
  for (model::BlockShapes& shapes : model::shapes_of(model)) {
    const std::size_t block = description.blocks.size();
    description.blocks.push_back({.name = model.blocks[block]->name(),
                                  .input = std::move(shapes.input),
                                  .output = std::move(shapes.output),
                                  .parameters = model.parameter_count(block)});
    if (layout != nullptr) description.blocks.back().ranks = plan::holders_of(*layout, block);
  }
  if (layout != nullptr) description.ranks = describe_ranks(model, *layout);
  return description;
}

std::string to_text(const ModelDescription& description) {
  std::string text =
      fmt::format("{}: {} parameters, {} in fp32, {} with gradients and moments\n\n", description.model,
                  format_count(description.parameters), format_size(parameter_bytes(description.parameters)),
                  format_size(training_bytes(description.parameters)));
  text += block_table(description);
  return description.ranks.empty() ? text : text + "\n" + rank_table(description);
}

nlohmann::json to_json(const ModelDescription& description) {
  Json json = {{"version", kVersion},
               {"model", description.model},
               {"parameters", description.parameters},
               {"blocks", Json::array()}};
  for (const BlockDescription& block : description.blocks) {
    json["blocks"].push_back(
        with_bytes({{"name", block.name}, {"input", block.input}, {"output", block.output}}, block.parameters));
    if (!description.ranks.empty()) json["blocks"].back()["ranks"] = block.ranks;
  }
  for (const RankDescription& rank : description.ranks)
    json["ranks"].push_back(with_bytes({{"rank", rank.rank}, {"blocks", rank.blocks}}, rank.parameters));
  return json;
}

}  // namespace lshdp::measure
