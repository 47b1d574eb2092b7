// Laying blocks out in flat arenas.
#include "lshdp/parallel/arena.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace lshdp::parallel {
namespace {

std::int64_t element_count(const model::Parameter& parameter) {
  return std::accumulate(parameter.shape.begin(), parameter.shape.end(), std::int64_t{1}, std::multiplies<>());
}

void append_slots(Bucket& bucket, const model::Model& model, bool decay) {
  for (std::size_t block = bucket.first_block; block <= bucket.last_block; ++block) {
    const auto& parameters = model.blocks[block]->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].decay != decay) continue;
      const std::int64_t count = element_count(parameters[i]);
      bucket.slots.push_back({block, i, bucket.count, count});
      bucket.count += (count + kAlignment - 1) / kAlignment * kAlignment;
    }
  }
}

Bucket make_bucket(const model::Model& model, std::size_t first, std::size_t last) {
  Bucket bucket{first, last, {}, 0, 0};
  append_slots(bucket, model, true);
  bucket.decay_count = bucket.count;
  append_slots(bucket, model, false);
  return bucket;
}

}  // namespace

std::vector<Bucket> make_buckets(const model::Model& model, std::int64_t least_count) {
  std::vector<Bucket> buckets;
  std::int64_t gathered = 0;
  std::size_t last = model.blocks.size() - 1;
  for (std::size_t block = model.blocks.size(); block-- > 0;) {
    gathered += model.parameter_count(block);
    if (gathered < least_count && block > 0) continue;
    if (gathered < least_count && !buckets.empty()) {
      // A small remainder of first blocks: its neighbour's transfer would be waited for together with its own anyway.
      last = buckets.back().last_block;
      buckets.pop_back();
    }
    buckets.push_back(make_bucket(model, block, last));
    gathered = 0;
    last = block - 1;
  }
  std::reverse(buckets.begin(), buckets.end());
  return buckets;
}

}  // namespace lshdp::parallel
