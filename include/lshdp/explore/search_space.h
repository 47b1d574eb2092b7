// The sizes that a search combines.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/explore/layout.h"

namespace lshdp::explore {

/// Every combination of one value of each. Values stand in rising order, each once, so that a search gives the same in
/// whatever order they were written.
struct SearchSpace {
  std::vector<std::int64_t> devices{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 10240};
  std::vector<std::int64_t> tensor{1, 2, 4, 8};
  std::vector<std::int64_t> pipeline{1, 2, 4, 8, 16};
  std::vector<std::int64_t> expert{1};
  std::vector<std::int64_t> context{1, 2, 4, 8};
  std::vector<std::int64_t> micro_batch{1, 2, 4};
  std::vector<std::int64_t> interleaving{1, 2, 4};
  std::vector<Recompute> recompute{kRecomputes.begin(), kRecomputes.end()};
  std::vector<bool> sequence_parallel{false, true};
  std::vector<Sharding> sharding{kShardings.begin(), kShardings.end()};
  std::vector<LayerSplit> layer_split{kLayerSplits.begin(), kLayerSplits.end()};
  std::vector<Offload> offload{Offload::none};

  bool offloads() const { return offload.back() != Offload::none; }

  /// How many combinations there are, valid or not. Throws UsageError beyond 2^63.
  std::int64_t size() const;
};

}  // namespace lshdp::explore
