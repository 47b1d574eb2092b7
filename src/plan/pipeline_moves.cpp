// Moves of cuts and of ranks.
#include "pipeline_moves.h"

#include <utility>

namespace lshdp::plan {
namespace {

constexpr std::size_t kFar = 4;        // blocks that a cut moves at most
constexpr std::size_t kAllSwaps = 16;  // stages up to which every two swap their ranks; beyond, near ones
constexpr std::size_t kMostFree = 4;   // ranks that come in

using Shapes = std::vector<PipelineShape>;

/// Gives stage `stage` to `rank`; the last stage goes with the first where the pipeline comes back.
void set_rank(PipelineShape& shape, std::size_t stage, std::size_t rank, bool comes_back) {
  shape.ranks[stage] = rank;
  if (comes_back && stage == 0) shape.ranks.back() = rank;
}

/// Stages whose rank is their own: of a pipeline that comes back, all but the last.
std::size_t own_stages(const PipelineShape& shape) { return shape.stages() - (shape.comes_back() ? 1 : 0); }

void move_cuts(const PipelineShape& shape, Shapes& moved) {
  for (std::size_t cut = 0; cut + 1 < shape.stages(); ++cut) {
    for (std::size_t by = 1; by <= kFar; by *= 2) {
      if (shape.start(cut) + by < shape.ends[cut]) {
        moved.push_back(shape);
        moved.back().ends[cut] -= by;
      }
      if (shape.ends[cut] + by < shape.ends[cut + 1]) {
        moved.push_back(shape);
        moved.back().ends[cut] += by;
      }
    }
  }
}

/// A block more here and one less there, so that all between pass one on.
void move_two_cuts(const PipelineShape& shape, Shapes& moved) {
  for (std::size_t first = 0; first + 2 < shape.stages(); ++first) {
    for (std::size_t last = first + 1; last + 1 < shape.stages(); ++last) {
      if (last - first > kFar) break;
      for (const int by : {-1, 1}) {
        PipelineShape next = shape;
        for (std::size_t cut = first; cut <= last; ++cut)
          next.ends[cut] = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(next.ends[cut]) + by);
        if (next.ends[first] > next.start(first) && next.ends[last] < next.ends[last + 1])
          moved.push_back(std::move(next));
      }
    }
  }
}

void swap_ranks(const PipelineShape& shape, Shapes& moved) {
  const std::size_t stages = own_stages(shape);
  for (std::size_t one = 0; one < stages; ++one) {
    for (std::size_t other = one + 1; other < stages; ++other) {
      if (stages > kAllSwaps && other - one > kFar) break;
      PipelineShape next = shape;
      set_rank(next, one, shape.ranks[other], shape.comes_back());
      set_rank(next, other, shape.ranks[one], shape.comes_back());
      moved.push_back(std::move(next));
    }
  }
}

/// Another rank for a stage, or for half of it.
void bring_in(const PipelineShape& shape, std::size_t rank, Shapes& moved) {
  for (std::size_t stage = 0; stage < shape.stages(); ++stage) {
    if (stage < own_stages(shape)) {
      moved.push_back(shape);
      set_rank(moved.back(), stage, rank, shape.comes_back());
    }
    const std::size_t middle = (shape.start(stage) + shape.ends[stage]) / 2;
    if (middle == shape.start(stage) || (shape.comes_back() && stage + 1 == shape.stages())) continue;
    PipelineShape split = shape;
    const auto at = static_cast<std::ptrdiff_t>(stage);
    split.ends.insert(split.ends.begin() + at, middle);
    split.ranks.insert(split.ranks.begin() + at + 1, rank);
    moved.push_back(std::move(split));
  }
}

/// Its blocks go to the stage before or behind.
void drop_ranks(const PipelineShape& shape, Shapes& moved) {
  const bool comes_back = shape.comes_back();
  if (shape.stages() < (comes_back ? 4U : 3U)) return;
  for (std::size_t stage = comes_back ? 1 : 0; stage < own_stages(shape); ++stage) {
    const auto at = static_cast<std::ptrdiff_t>(stage);
    PipelineShape without = shape;
    without.ranks.erase(without.ranks.begin() + at);
    // A cut at either end of the stage goes, but not the model's end.
    for (const std::ptrdiff_t cut : {at - 1, at}) {
      if (cut < 0 || cut + 1 == static_cast<std::ptrdiff_t>(shape.stages())) continue;
      moved.push_back(without);
      moved.back().ends.erase(moved.back().ends.begin() + cut);
    }
  }
}

}  // namespace

std::vector<PipelineShape> moves_of(const PipelineShape& shape, const MoveFreedom& freedom) {
  Shapes moved;
  move_cuts(shape, moved);
  move_two_cuts(shape, moved);
  if (freedom.order) swap_ranks(shape, moved);
  for (std::size_t i = 0; i < freedom.free.size() && i < kMostFree; ++i) bring_in(shape, freedom.free[i], moved);
  if (freedom.drop) drop_ranks(shape, moved);
  return moved;
}

}  // namespace lshdp::plan
