// Laying blocks out in flat arenas.
#include "layout/arena.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::parallel {
namespace {

/// Up to what the bucket has now.
void append_run(Bucket& bucket, const model::Parameter& parameter) {
  if (bucket.runs.empty() || bucket.runs.back().decay != parameter.decay || bucket.runs.back().rate != parameter.rate)
    bucket.runs.push_back({.decay = parameter.decay, .rate = parameter.rate});
  bucket.runs.back().end = bucket.count;
}

void append_slot(Bucket& bucket, const model::Model& model, std::size_t block, std::size_t parameter) {
  const std::int64_t count = model.blocks[block]->parameters()[parameter].count();
  bucket.slots.push_back({block, parameter, bucket.count, count});
  bucket.count += (count + kAlignment - 1) / kAlignment * kAlignment;
  append_run(bucket, model.blocks[block]->parameters()[parameter]);
}

void append_slots(Bucket& bucket, const model::Model& model, const std::optional<Bucket>& table, bool decay) {
  for (std::size_t block = bucket.first_block; block <= bucket.last_block; ++block) {
    const auto& parameters = model.blocks[block]->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const bool apart = table && block == 0 && i == table->slots.front().parameter;
      if (!apart && parameters[i].decay == decay) append_slot(bucket, model, block, i);
    }
  }
}

Bucket make_bucket(const model::Model& model, const std::optional<Bucket>& table, std::size_t first, std::size_t last) {
  Bucket bucket{first, last, {}};
  append_slots(bucket, model, table, true);
  append_slots(bucket, model, table, false);
  return bucket;
}

/// The bucket of the first block's table, where it has one of that size that others borrow.
std::optional<Bucket> make_table(const model::Model& model, std::int64_t min_table) {
  const model::Block& first = *model.blocks.front();
  const std::optional<std::size_t> table = first.looked_up();
  if (!table || first.parameters()[*table].count() < min_table) return std::nullopt;
  std::vector<std::size_t> users;
  for (std::size_t block = 1; block < model.blocks.size(); ++block) {
    const std::vector<std::string>& borrowed = model.blocks[block]->borrowed();
    if (std::ranges::find(borrowed, first.parameters()[*table].name) != borrowed.end()) users.push_back(block);
  }
  if (users.empty()) return std::nullopt;
  Bucket bucket{users.front(), users.back(), {}};
  append_slot(bucket, model, 0, *table);
  bucket.table = true;
  return bucket;
}

}  // namespace

std::vector<Bucket> make_buckets(const model::Model& model, std::int64_t min_count, std::int64_t min_table,
                                 std::span<const int> groups) {
  const std::optional<Bucket> table = make_table(model, min_table);
  const auto one_group = [&](std::size_t a, std::size_t b) { return groups.empty() || groups[a] == groups[b]; };
  if (table && !(one_group(0, table->first_block) && one_group(0, table->last_block)))
    throw std::invalid_argument("a table and the blocks that use it lie on different ranks");
  std::vector<Bucket> buckets;
  std::int64_t gathered = 0;
  std::size_t last = model.blocks.size() - 1;
  for (std::size_t block = model.blocks.size(); block-- > 0;) {
    gathered += model.parameter_count(block) - (block == 0 && table ? table->slots.front().count : 0);
    const bool first = block == 0 || !one_group(block, block - 1);  // of its group
    if (gathered < min_count && !first) continue;
    if (gathered < min_count && !buckets.empty() && one_group(block, buckets.back().first_block)) {
      // A small remainder of first blocks: its neighbour's transfer would be waited for together with its own anyway.
      last = buckets.back().last_block;
      buckets.pop_back();
    }
    buckets.push_back(make_bucket(model, table, block, last));
    gathered = 0;
    last = block - 1;
  }
  std::reverse(buckets.begin(), buckets.end());
  if (table) buckets.push_back(*table);
  return buckets;
}

comm::Shards make_shards(std::int64_t count, int ranks, std::span<const std::int64_t> weights) {
  if (weights.empty()) return comm::equal_shards(count, ranks, kAlignment);
  if (weights.size() != static_cast<std::size_t>(ranks) ||
      std::ranges::any_of(weights, [](std::int64_t weight) { return weight < 0; }) || std::ranges::max(weights) == 0) {
    throw UsageError(
        fmt::format("shards in proportion need one weight for each of {} ranks, 0 or more and not all 0", ranks));
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
