// Tries every layout of a search space, one after the other, without keeping them.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "lshdp/explore/memory.h"
#include "lshdp/explore/search_space.h"
#include "lshdp/explore/step_time.h"

namespace lshdp::explore {

/// A layout that can be, with the memory of its worst stage and what Memory says beside it.
struct Candidate {
  Layout layout;
  StageMemory worst;
  double loss = 0, mlp = 0, moe = 0;  // as in Memory
  StepTime time = {};                 // of a step; 0 without hardware
  double node_host = 0;               // bytes (node_host_bytes()); 0 without hardware
};

struct SearchCounts {
  std::int64_t valid = 0;
  std::array<std::int64_t, kRefusals> refused{};  // by Refusal; each combination counts once, by its first reason
  /// For each number of devices of the space, in its order: the last reason that a combination was refused for which
  /// depends on them. Where nothing is possible, that is the one behind which nothing is left.
  std::vector<std::optional<Refusal>> last_refusal = {};
  std::int64_t all() const;
};

/// Calls `visit` with each layout of `space` that can be, in rising order of Layout. Equal to refusal_of(), estimate()
/// and, with `hardware`, step_time() for every combination, at a fraction of their time: what several layouts share is
/// computed once.
SearchCounts search(const Model& model, const Trainer& trainer, const SearchSpace& space,
                    const std::optional<Hardware>& hardware, const std::function<void(const Candidate&)>& visit);

}  // namespace lshdp::explore
