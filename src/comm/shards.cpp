// Sizes of elements, equal shards, and the scratch memory that sums need.
#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

std::size_t size_of(DataType type) {
  switch (type) {
    case DataType::byte:
      return 1;
    case DataType::bfloat16:
    case DataType::float16:
      return 2;
    case DataType::float32:
      return 4;
    case DataType::float64:
      return 8;
  }
  throw std::invalid_argument("unknown data type");
}

Shards equal_shards(std::int64_t count, int ranks, std::int64_t alignment) {
  if (count < 0 || ranks < 1 || alignment < 1)
    throw std::invalid_argument(
        fmt::format("cannot cut {} elements into {} shards aligned to {}", count, ranks, alignment));
  // The last unit may be short. The ranks with one unit more come last, so that the short one is among them.
  const std::int64_t units = count / alignment + (count % alignment != 0 ? 1 : 0);
  const std::int64_t longer = units % ranks;
  Shards shards{{0}};
  std::int64_t unit = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    unit += units / ranks + (rank >= ranks - longer ? 1 : 0);
    shards.bounds.push_back(unit == units ? count : unit * alignment);
  }
  return shards;
}

Shards all_reduce_shards(std::int64_t count, int ranks) { return equal_shards(count, ranks, kShardAlignment); }

std::size_t scratch_bytes(const Shards& shards, DataType type, int rank, Wire wire) {
  const int ranks = static_cast<int>(shards.bounds.size()) - 1;
  if (rank < 0 || rank >= ranks)
    throw std::invalid_argument(fmt::format("rank {} is not one of {} shards", rank, ranks));
  return static_cast<std::size_t>((ranks - 1) * shards.count(rank)) *
         size_of(wire == Wire::bf16 ? DataType::bfloat16 : type);
}

}  // namespace lshdp::comm
