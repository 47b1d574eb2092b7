// Which layers a pipeline stage holds, and how many micro-batches of each it keeps at its worst moment.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/explore/layout.h"

namespace lshdp::explore {

/// Consecutive layers. Chunk c of stage s is the (c x PP + s)-th piece of the model.
struct Chunk {
  std::int64_t dense_layers = 0;
  std::int64_t expert_layers = 0;
  bool has_embedding = false;
  bool has_head = false;
  std::int64_t layers() const { return dense_layers + expert_layers; }
};
using Stage = std::vector<Chunk>;  // one chunk, or `interleaving` of them

/// The stages of a layout that can be. Evenly, each chunk has as many layers. Balanced, layers are dealt out so that
/// the largest chunk is as small as possible, embedding and head counted by their parameters.
std::vector<Stage> cut_into_stages(const Model& model, const Layout& layout);
/// Layers of each piece of the model, in the model's order.
std::vector<std::int64_t> layers_of_pieces(const Model& model, const Layout& layout);

/// Micro-batches that each chunk of a stage holds at once.
using InFlight = std::vector<std::int64_t>;

/// Every moment of the schedule that may be the worst for stage `stage`: none has fewer micro-batches of all chunks
/// than another. 1F1B (arXiv 2104.04473, section 2.2) keeps min(PP - stage, micro-batches); interleaved 1F1B keeps 2
/// (PP - stage - 1) + (chunks - 1) PP + 1 chunks, whose mixture changes while it runs.
std::vector<InFlight> worst_moments(std::int64_t pipeline, std::int64_t interleaving, std::int64_t micro_batches,
                                    std::int64_t stage);

/// The number of micro-batches beyond which worst_moments() does not change.
std::int64_t enough_micro_batches(std::int64_t pipeline, std::int64_t interleaving);

}  // namespace lshdp::explore
