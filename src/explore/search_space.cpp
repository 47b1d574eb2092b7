// Size of a search space.
#include "lshdp/explore/search_space.h"

#include "lshdp/core/error.h"

namespace lshdp::explore {

std::int64_t SearchSpace::size() const {
  std::int64_t product = 1;
  for (const std::size_t count : {devices.size(), tensor.size(), pipeline.size(), expert.size(), context.size(),
                                  micro_batch.size(), interleaving.size(), recompute.size(), sequence_parallel.size(),
                                  sharding.size(), layer_split.size(), offload.size()}) {
    if (__builtin_mul_overflow(product, static_cast<std::int64_t>(count), &product))
      throw UsageError("the ranges have more than 2^63 combinations");
  }
  return product;
}

}  // namespace lshdp::explore
