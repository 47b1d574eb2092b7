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

/// Interleaved 1F1B on one stage: each chunk runs forward for PP micro-batches in turn, and backward likewise in the
/// opposite order (arXiv 2104.04473, figure 4). After the warm-up each step is one forward and then one backward.
class Interleaved {
 public:
  Interleaved(std::int64_t pipeline, std::int64_t chunks, std::int64_t micro_batches, std::int64_t stage)
      : pipeline_(pipeline),
        chunks_(chunks),
        steps_(micro_batches * chunks),
        warm_up_(std::min(steps_, 2 * (pipeline - stage - 1) + (chunks - 1) * pipeline)) {}

  /// Between two changes of chunk one chunk only gains and one only loses micro-batches: what is the most, by whatever
  /// weights, is at the step before a change or at the step of one. All repeats after PP x chunks steps.
  std::vector<InFlight> moments() const {
    if (warm_up_ == steps_) return {in_flight(steps_, 0)};
    std::vector<InFlight> moments;
    const std::int64_t end = std::min(steps_ - warm_up_, pipeline_ * chunks_);
    const auto note = [&](std::int64_t step) {
      if (step >= 0 && step < end) note_moment(moments, in_flight(warm_up_ + step + 1, step));
    };
    note(end - 1);
    for (std::int64_t backward = 0; backward < end; backward += pipeline_) {
      const std::int64_t forward = backward + pipeline_ - 1 - (warm_up_ + pipeline_ - 1) % pipeline_;
      for (const std::int64_t change : {backward, forward}) {
        note(change - 1);
        note(change);
      }
    }
    return moments;
  }

 private:
  /// Steps of chunk `turn`, in the order in which chunks run, among the first `steps`.
  std::int64_t steps_of(std::int64_t turn, std::int64_t steps) const {
    const std::int64_t round = pipeline_ * chunks_;
    return steps / round * pipeline_ + std::clamp<std::int64_t>(steps % round - turn * pipeline_, 0, pipeline_);
  }
  InFlight in_flight(std::int64_t forwards, std::int64_t backwards) const {
    InFlight now;
    for (std::int64_t chunk = 0; chunk < chunks_; ++chunk)
      now.push_back(steps_of(chunk, forwards) - steps_of(chunks_ - 1 - chunk, backwards));
    return now;
  }

  std::int64_t pipeline_, chunks_, steps_, warm_up_;
};

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
  return Interleaved(pipeline, interleaving, micro_batches, stage).moments();
}

std::int64_t enough_micro_batches(std::int64_t pipeline, std::int64_t interleaving) {
  // Interleaved, the longest warm-up and one round of all chunks.
  return interleaving == 1 ? pipeline : 3 * pipeline;
}

}  // namespace lshdp::explore
