// How the parameters of consecutive blocks lie in one flat arena, so that a reduction, a gather or an update is one
// operation.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"

namespace lshdp::parallel {

/// Where one parameter lies in its bucket's arena.
struct Slot {
  std::size_t block = 0, parameter = 0;
  std::int64_t offset = 0;  // elements
  std::int64_t count = 0;   // elements, without padding
};

/// Elements of an arena up to `end`, from where the run before ends: they are updated alike.
struct UpdateRun {
  std::int64_t end = 0;
  bool decay = true;  // as model::Parameter
  double rate = 1;    // as model::Parameter
};

/// Consecutive blocks whose parameters share an arena: what is reduced and gathered in one operation. Parameters with
/// weight decay come first; each begins at a multiple of kAlignment elements, the padding between them stays zero.
struct Bucket {
  std::size_t first_block = 0, last_block = 0;  // both included
  std::vector<Slot> slots;
  std::int64_t count = 0;            // elements with padding
  std::vector<UpdateRun> runs = {};  // of all elements
  // One parameter only, a table of the first block that later ones, first_block .. last_block, borrow whole: its rows
  // travel apart for the lookup, the table itself only for them.
  bool table = false;
};

inline constexpr std::int64_t kAlignment = comm::kShardAlignment;
/// A least number of elements that no table has.
inline constexpr std::int64_t kNoTable = std::numeric_limits<std::int64_t>::max();

/// Buckets in the order of blocks. Blocks are put together until a bucket has at least `min_count` elements, because
/// small messages cost latency; counted from the last block, whose gradients are ready first. A block is never split,
/// but for a borrowed table of the first one (Block::looked_up) of at least `min_table` elements: a bucket of its
/// own, the last. `groups`: by block, maybe empty; blocks of different numbers are never in one bucket. Throws
/// std::invalid_argument where a table and its users have different ones.
std::vector<Bucket> make_buckets(const model::Model& model, std::int64_t min_count, std::int64_t min_table = kNoTable,
                                 std::span<const int> groups = {});

/// `count` elements in a shard per rank that begins at a multiple of kAlignment: in proportion to `weights`, or equal
/// where there are none. A weight of 0 gives an empty shard. Throws UsageError unless there is one weight, 0 or more,
/// for each rank, and one of them is above 0.
comm::Shards make_shards(std::int64_t count, int ranks, std::span<const std::int64_t> weights);

}  // namespace lshdp::parallel
