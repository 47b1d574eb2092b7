// Laying blocks out in flat arenas.
#include "lshdp/parallel/arena.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include <fmt/format.h>

#include "lshdp/core/error.h"

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

comm::Shards make_shards(std::int64_t count, int ranks, std::span<const std::int64_t> weights) {
  if (weights.empty()) return comm::equal_shards(count, ranks, kAlignment);
  if (weights.size() != static_cast<std::size_t>(ranks) ||
      std::ranges::any_of(weights, [](std::int64_t weight) { return weight < 1; })) {
    throw UsageError(fmt::format("shards in proportion need one weight above 0 for each of {} ranks", ranks));
  }
  const auto total = static_cast<double>(std::accumulate(weights.begin(), weights.end(), std::int64_t{0}));
  const auto units = static_cast<double>((count + kAlignment - 1) / kAlignment);
  comm::Shards shards{{0}};
  double weight = 0;
  for (const std::int64_t mine : weights) {
    weight += static_cast<double>(mine);
    const auto unit = static_cast<std::int64_t>(std::llround(units * (weight / total)));
    shards.bounds.push_back(std::min(count, unit * kAlignment));
  }
  return shards;
}

}  // namespace lshdp::parallel
