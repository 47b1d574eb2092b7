// Cuts a model into pipeline stages, and follows the schedule's micro-batches through one.
#include "lshdp/explore/stages.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "lshdp/explore/parameters.h"

namespace lshdp::explore {
namespace {

/// Layers dealt out one by one to the piece that is lightest. Of equal pieces the last: earlier stages keep more
/// micro-batches.
std::vector<std::int64_t> deal_out(const Model& model, std::int64_t pieces) {
  const auto layers = static_cast<double>(model.num_layers);
  const auto embedding = static_cast<double>(embedding_parameters(model, 1));
  const auto head = static_cast<double>(head_parameters(model, 1, false));
  const double layer = (static_cast<double>(total_parameters(model)) - embedding -
                        static_cast<double>(head_parameters(model, 1, true))) /
                       layers;
  using Load = std::pair<double, std::int64_t>;  // in layers; minus the piece
  std::priority_queue<Load, std::vector<Load>, std::greater<>> lightest;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const double extra = (piece == 0 ? embedding : 0) + (piece + 1 == pieces ? head : 0);
    lightest.emplace(extra / layer, -piece);
  }
  std::vector<std::int64_t> dealt(static_cast<std::size_t>(pieces));
  for (std::int64_t layers_left = model.num_layers; layers_left > 0; --layers_left) {
    const auto [load, piece] = lightest.top();
    lightest.pop();
    ++dealt[static_cast<std::size_t>(-piece)];
    lightest.emplace(load + 1, piece);
  }
  return dealt;
}

/// True if at each chunk `one` has no more than `other`.
bool within(const InFlight& one, const InFlight& other) {
  return std::ranges::equal(one, other, std::ranges::less_equal());
}

void note_moment(std::vector<InFlight>& moments, const InFlight& now) {
  if (std::ranges::any_of(moments, [&](const InFlight& moment) { return within(now, moment); })) return;
  std::erase_if(moments, [&](const InFlight& moment) { return within(moment, now); });
  moments.push_back(now);
}

/// Interleaved 1F1B runs each chunk for PP micro-batches in turn, backward in the opposite order (arXiv 2104.04473,
/// figure 4).
std::vector<InFlight> interleaved_moments(std::int64_t pipeline, std::int64_t chunks, std::int64_t micro_batches,
                                          std::int64_t stage) {
  const auto chunk_of = [&](std::int64_t step) { return static_cast<std::size_t>(step / pipeline % chunks); };
  const std::int64_t steps = micro_batches * chunks;
  const std::int64_t warm_up = std::min(steps, 2 * (pipeline - stage - 1) + (chunks - 1) * pipeline);
  InFlight now(static_cast<std::size_t>(chunks));
  for (std::int64_t step = 0; step < warm_up; ++step) ++now[chunk_of(step)];
  std::vector<InFlight> moments{now};
  for (std::int64_t step = warm_up; step < steps; ++step) {
    ++now[chunk_of(step)];
    note_moment(moments, now);
    --now[static_cast<std::size_t>(chunks) - 1 - chunk_of(step - warm_up)];
  }
  return moments;
}

}  // namespace

std::vector<std::int64_t> layers_of_pieces(const Model& model, const Layout& layout) {
  const std::int64_t pieces = layout.pipeline * layout.interleaving;
  if (layout.layer_split == LayerSplit::balanced) return deal_out(model, pieces);
  return std::vector<std::int64_t>(static_cast<std::size_t>(pieces), model.num_layers / pieces);
}

std::vector<Stage> cut_into_stages(const Model& model, const Layout& layout) {
  const std::vector<std::int64_t> layers = layers_of_pieces(model, layout);
  std::vector<Stage> stages(static_cast<std::size_t>(layout.pipeline));
  std::int64_t layer = 0;
  for (std::size_t piece = 0; piece < layers.size(); ++piece) {
    Chunk chunk{.has_embedding = piece == 0, .has_head = piece + 1 == layers.size()};
    for (const std::int64_t end = layer + layers[piece]; layer < end; ++layer)
      ++(model.is_expert_layer(layer) ? chunk.expert_layers : chunk.dense_layers);
    stages[piece % stages.size()].push_back(chunk);
  }
  return stages;
}

std::vector<InFlight> worst_moments(std::int64_t pipeline, std::int64_t interleaving, std::int64_t micro_batches,
                                    std::int64_t stage) {
  if (interleaving == 1) return {{std::min(pipeline - stage, micro_batches)}};
  return interleaved_moments(pipeline, interleaving, micro_batches, stage);
}

std::int64_t enough_micro_batches(std::int64_t pipeline, std::int64_t interleaving) {
  // Interleaved, two groups fill the stages, and the mixture repeats with the next.
  return interleaving == 1 ? pipeline : 3 * pipeline;
}

}  // namespace lshdp::explore
