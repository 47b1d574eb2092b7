// Exchanges, rings and chains as lists of messages.
#include "schedule.h"

#include <algorithm>

namespace lshdp::comm {
namespace {

int ranks_of(const Shards& shards) { return static_cast<int>(shards.bounds.size()) - 1; }

int wrapped(int rank, int size) { return (rank % size + size) % size; }

/// Calls piece(offset, count) for each segment of [begin, end).
template <typename Function>
void for_each_segment(std::int64_t begin, std::int64_t end, std::int64_t segment, const Function& piece) {
  for (std::int64_t offset = begin; offset < end; offset += std::min(segment, end - offset))
    piece(offset, std::min(segment, end - offset));
}

std::int64_t count_of(const auto& list) { return static_cast<std::int64_t>(list.size()); }

/// An all-reduce as a ring: hop h sends chunk rank-1-h and receives chunk rank-2-h; the receives of the first half of
/// the hops are added.
struct Ring {
  const Shards& shards;
  int rank;
  std::int64_t segment;
  int sums = ranks_of(shards) - 1;
  Schedule schedule = {};
  std::vector<std::int64_t> first_send = {}, first_receive = {};  // index of the first piece of each hop

  int chunk(int hop) const { return wrapped(rank - 1 - hop, ranks_of(shards)); }

  void add_sends(int hop) {
    first_send.push_back(count_of(schedule.sends));
    const int sent = chunk(hop), right = wrapped(rank + 1, ranks_of(shards));
    // What is sent at a hop is what came in at the hop before, cut alike.
    std::int64_t after = hop == 0 ? -1 : first_receive[static_cast<std::size_t>(hop) - 1];
    for_each_segment(shards.begin(sent), shards.end(sent), segment, [&](std::int64_t offset, std::int64_t count) {
      schedule.sends.push_back(
          {.peer = right, .offset = offset, .count = count, .after = after, .own = hop == sums && sent == rank});
      if (hop > 0) ++after;
    });
  }

  void add_receives(int hop) {
    first_receive.push_back(count_of(schedule.receives));
    const int received = chunk(hop + 1), left = wrapped(rank - 1, ranks_of(shards));
    const bool sum = hop < sums;
    // A gathered chunk lands where the same chunk's partial sum was sent from `sums` hops ago.
    std::int64_t after = sum ? -1 : first_send[static_cast<std::size_t>(hop - sums)];
    for_each_segment(shards.begin(received), shards.end(received), segment,
                     [&](std::int64_t offset, std::int64_t count) {
                       schedule.receives.push_back({.peer = left,
                                                    .offset = offset,
                                                    .count = count,
                                                    .after = after,
                                                    .scratch = sum ? schedule.scratch_elements : -1,
                                                    .sum = sum});
                       if (sum) schedule.scratch_elements += count;
                       if (after >= 0) ++after;
                     });
  }

  Schedule build() {
    for (int hop = 0; hop < 2 * sums; ++hop) {
      add_sends(hop);
      add_receives(hop);
    }
    return std::move(schedule);
  }
};

/// visit(distance, begin, count): segment by segment the part of the shard of rank `owner(distance)` that each distance
/// sends or receives in this round, all distances before the next round. No rank is sent to by all at once, because
/// each round begins with another peer on every rank.
template <typename Owner, typename Function>
void for_each_exchanged(const Shards& shards, std::int64_t segment, const Owner& owner, const Function& visit) {
  const int size = ranks_of(shards);
  bool more = true;
  for (std::int64_t skipped = 0; more; skipped += segment) {
    more = false;
    for (int distance = 1; distance < size; ++distance) {
      const int shard = owner(distance);
      const std::int64_t left = shards.count(shard) - skipped;
      if (left <= 0) continue;
      visit(distance, shards.begin(shard) + skipped, std::min(segment, left));
      more = true;
    }
  }
}

}  // namespace

Schedule exchange_reduce_scatter(const Shards& shards, int rank, std::int64_t segment) {
  const auto right = [&](int distance) { return wrapped(rank + distance, ranks_of(shards)); };
  const auto own = [rank](int) { return rank; };
  Schedule schedule;
  for_each_exchanged(shards, segment, right, [&](int distance, std::int64_t offset, std::int64_t count) {
    schedule.sends.push_back({.peer = right(distance), .offset = offset, .count = count});
  });
  for_each_exchanged(shards, segment, own, [&](int distance, std::int64_t offset, std::int64_t count) {
    schedule.receives.push_back({.peer = right(-distance),
                                 .offset = offset,
                                 .count = count,
                                 .scratch = schedule.scratch_elements,
                                 .sum = true});
    schedule.scratch_elements += count;
  });
  return schedule;
}

Schedule exchange_all_gather(const Shards& shards, int rank, std::int64_t segment) {
  const auto right = [&](int distance) { return wrapped(rank + distance, ranks_of(shards)); };
  const auto left = [&](int distance) { return right(-distance); };
  const auto own = [rank](int) { return rank; };
  Schedule schedule;
  for_each_exchanged(shards, segment, own, [&](int distance, std::int64_t offset, std::int64_t count) {
    schedule.sends.push_back({.peer = right(distance), .offset = offset, .count = count, .own = true});
  });
  for_each_exchanged(shards, segment, left, [&](int distance, std::int64_t offset, std::int64_t count) {
    schedule.receives.push_back({.peer = left(distance), .offset = offset, .count = count});
  });
  return schedule;
}

Schedule exchange_all_to_all(const Shards& out, const Shards& in, int rank, std::int64_t segment) {
  const auto right = [&](int distance) { return wrapped(rank + distance, ranks_of(out)); };
  const auto left = [&](int distance) { return right(-distance); };
  Schedule schedule;
  for_each_exchanged(out, segment, right, [&](int distance, std::int64_t offset, std::int64_t count) {
    schedule.sends.push_back({.peer = right(distance), .offset = offset, .count = count});
  });
  for_each_exchanged(in, segment, left, [&](int distance, std::int64_t offset, std::int64_t count) {
    schedule.receives.push_back({.peer = left(distance), .offset = offset, .count = count, .scratch = offset});
  });
  schedule.scratch_elements = in.bounds.back();
  return schedule;
}

Schedule ring_all_reduce(const Shards& shards, int rank, std::int64_t segment) {
  return Ring{.shards = shards, .rank = rank, .segment = segment}.build();
}

Schedule chain_broadcast(std::int64_t count, int root, int rank, int size, std::int64_t segment) {
  const bool receives = rank != root, sends = wrapped(rank + 1, size) != root;
  Schedule schedule;
  for_each_segment(0, count, segment, [&](std::int64_t offset, std::int64_t length) {
    const std::int64_t after = receives ? count_of(schedule.receives) : -1;
    if (receives) schedule.receives.push_back({.peer = wrapped(rank - 1, size), .offset = offset, .count = length});
    if (sends)
      schedule.sends.push_back({.peer = wrapped(rank + 1, size), .offset = offset, .count = length, .after = after});
  });
  return schedule;
}

Schedule message_to(int peer, std::int64_t count, std::int64_t segment) {
  Schedule schedule;
  for_each_segment(0, count, segment, [&](std::int64_t offset, std::int64_t length) {
    schedule.sends.push_back({.peer = peer, .offset = offset, .count = length});
  });
  return schedule;
}

Schedule message_from(int peer, std::int64_t count, std::int64_t segment) {
  Schedule schedule;
  for_each_segment(0, count, segment, [&](std::int64_t offset, std::int64_t length) {
    schedule.receives.push_back({.peer = peer, .offset = offset, .count = length});
  });
  return schedule;
}

Schedule direct_all_reduce(std::int64_t count, int rank, int size) {
  Schedule schedule;
  if (size == 1 || count == 0) return schedule;
  for (int distance = 1; distance < size; ++distance) {
    const int to = wrapped(rank + distance, size), from = wrapped(rank - distance, size);
    schedule.sends.push_back({.peer = to, .offset = rank * count, .count = count, .from_scratch = true});
    schedule.receives.push_back({.peer = from, .offset = 0, .count = count, .scratch = from * count});
  }
  schedule.scratch_elements = size * count;
  schedule.sums_copies = true;
  return schedule;
}

Schedule direct_broadcast(std::int64_t count, int root, int rank, int size) {
  Schedule schedule;
  if (count == 0) return schedule;
  if (rank != root) schedule.receives.push_back({.peer = root, .offset = 0, .count = count});
  for (int distance = 1; distance < size && rank == root; ++distance)
    schedule.sends.push_back({.peer = wrapped(rank + distance, size), .offset = 0, .count = count});
  return schedule;
}

}  // namespace lshdp::comm
