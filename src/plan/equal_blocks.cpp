// Shares of kinds of blocks.
#include "equal_blocks.h"

#include <tuple>

#include "block_costs.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kAlikeSizes = 4;

/// By block, the first block of its kind.
std::vector<std::size_t> kinds_of(const std::vector<BlockProfile>& blocks) {
  const auto look = [](const BlockProfile& block) {
    return std::tie(block.parameters, block.activation_bytes, block.output_bytes);
  };
  std::vector<std::size_t> kinds;
  for (std::size_t block = 0; block < blocks.size(); ++block) {
    std::size_t kind = 0;
    while (look(blocks[kind]) != look(blocks[block])) ++kind;
    kinds.push_back(kind);
  }
  return kinds;
}

/// Adds to each block's entry of `shares` the mean over its kind of `seconds`, divided by `all`.
void add_means(const std::vector<double>& seconds, const std::vector<std::size_t>& kinds, double all,
               std::vector<double>& shares) {
  std::vector<double> sums(kinds.size()), counts(kinds.size());
  for (std::size_t block = 0; block < kinds.size(); ++block) {
    sums[kinds[block]] += seconds[block];
    counts[kinds[block]] += 1;
  }
  for (std::size_t block = 0; block < kinds.size(); ++block)
    shares[block] += sums[kinds[block]] / counts[kinds[block]] / all;
}

}  // namespace

std::vector<BlockTimes> average_equal_blocks(const std::vector<BlockProfile>& blocks,
                                             const std::vector<BlockTimes>& measured) {
  const std::vector<std::size_t> kinds = kinds_of(blocks);
  std::vector<BlockTimes> averaged;
  for (const BlockTimes& times : measured) {
    BlockTimes mean{times.batch, std::vector<double>(kinds.size()), std::vector<double>(kinds.size())};
    double points = 0;
    for (const BlockTimes& other : measured) {
      const double all = seconds_of(other);
      if (all <= 0 || other.batch * kAlikeSizes < times.batch || other.batch > times.batch * kAlikeSizes) continue;
      add_means(other.forward, kinds, all, mean.forward);
      add_means(other.backward, kinds, all, mean.backward);
      ++points;
    }
    const double mine = seconds_of(times);
    for (std::vector<double>* shares : {&mean.forward, &mean.backward})
      for (double& share : *shares) share *= points > 0 ? mine / points : 0;
    averaged.push_back(std::move(mean));
  }
  return averaged;
}

}  // namespace lshdp::plan
