// Moves of cuts and of ranks.
#include "pipeline_moves.h"

#include <algorithm>
#include <utility>

namespace lshdp::plan {
namespace {

constexpr std::size_t kFar = 4;        // blocks that a cut moves at most; stages that pass a block on
constexpr std::size_t kAllPairs = 16;  // ranks up to which any two swap; beyond, near ones
constexpr std::size_t kMostFree = 4;   // ranks that come in

using Order = std::vector<std::size_t>;

void move_one_cut(const PipelineShape& shape, std::vector<PipelineShape>& moved) {
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

/// A block more at one end and one less at the other; all stages between pass one on.
void move_neighbouring_cuts(const PipelineShape& shape, std::vector<PipelineShape>& moved) {
  for (std::size_t first = 0; first + 2 < shape.stages(); ++first) {
    for (std::size_t last = first + 1; last + 1 < shape.stages() && last - first <= kFar; ++last) {
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

bool far_apart(const Order& order, std::size_t one, std::size_t other) {
  return order.size() > kAllPairs && std::max(one, other) - std::min(one, other) > kFar;
}

void swap_two(const Order& order, std::vector<Order>& moved) {
  for (std::size_t one = 0; one < order.size(); ++one) {
    for (std::size_t other = one + 1; other < order.size(); ++other) {
      if (far_apart(order, one, other)) break;
      moved.push_back(order);
      std::swap(moved.back()[one], moved.back()[other]);
    }
  }
}

void move_one(const Order& order, std::vector<Order>& moved) {
  for (std::size_t from = 0; from < order.size(); ++from) {
    for (std::size_t to = 0; to < order.size(); ++to) {
      // The next place is a swap.
      if (to == from || to == from + 1 || from == to + 1 || far_apart(order, from, to)) continue;
      Order next = order;
      next.erase(next.begin() + static_cast<std::ptrdiff_t>(from));
      next.insert(next.begin() + static_cast<std::ptrdiff_t>(to), order[from]);
      moved.push_back(std::move(next));
    }
  }
}

void bring_in(const Order& order, std::size_t rank, std::vector<Order>& moved) {
  for (std::size_t at = 0; at <= order.size(); ++at) {
    moved.push_back(order);
    moved.back().insert(moved.back().begin() + static_cast<std::ptrdiff_t>(at), rank);
    if (at == order.size()) break;
    moved.push_back(order);
    moved.back()[at] = rank;
  }
}

}  // namespace

std::vector<PipelineShape> moved_cuts(const PipelineShape& shape) {
  std::vector<PipelineShape> moved;
  move_one_cut(shape, moved);
  move_neighbouring_cuts(shape, moved);
  return moved;
}

std::vector<std::size_t> order_of(const PipelineShape& shape) {
  Order order = shape.ranks;
  if (shape.comes_back()) order.pop_back();
  return order;
}

std::vector<Order> moved_orders(const Order& order, const std::vector<std::size_t>& free, bool drop) {
  std::vector<Order> moved;
  for (std::size_t i = 0; i < std::min(free.size(), kMostFree); ++i) bring_in(order, free[i], moved);
  swap_two(order, moved);
  move_one(order, moved);
  for (std::size_t at = 0; drop && order.size() > 2 && at < order.size(); ++at) {
    moved.push_back(order);
    moved.back().erase(moved.back().begin() + static_cast<std::ptrdiff_t>(at));
  }
  return moved;
}

}  // namespace lshdp::plan
