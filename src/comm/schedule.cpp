// Exchanges, rings and chains as lists of messages.
#include "schedule.h"

#include <algorithm>
#include <utility>

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

/// A ring of `hops` hops: hop h sends chunk first-h and receives chunk first-h-1; the first `sums` hops' receives are
/// added.
struct Ring {
  const Shards& shards;
  int rank, first, hops, sums;
  std::int64_t segment;
  Schedule schedule = {};
  std::vector<std::int64_t> first_send = {}, first_receive = {};  // index of the first piece of each hop

  int chunk(int hop) const { return wrapped(first - hop, ranks_of(shards)); }

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
    std::int64_t after = sum || sums == 0 ? -1 : first_send[static_cast<std::size_t>(hop - sums)];
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
    for (int hop = 0; hop < hops; ++hop) {
      add_sends(hop);
      add_receives(hop);
    }
    return std::move(schedule);
  }
};

struct Piece {
  std::int64_t offset, count;
};

std::vector<Piece> pieces_of(const Shards& shards, int rank, std::int64_t segment) {
  std::vector<Piece> pieces;
  for_each_segment(shards.begin(rank), shards.end(rank), segment, [&](std::int64_t offset, std::int64_t count) {
    pieces.push_back({offset, count});
  });
  return pieces;
}

/// Everybody exchanges shards with everybody: the parts of each shard to its owner, or the whole shard from it.
class Exchange {
 public:
  Exchange(const Shards& shards, int rank, std::int64_t segment) : rank_(rank), size_(ranks_of(shards)) {
    for (int r = 0; r < size_; ++r) {
      pieces_.push_back(pieces_of(shards, r, segment));
      rounds_ = std::max(rounds_, pieces_.back().size());
    }
  }

  void add_reduce_scatter() {
    // Piece by piece, and in each round another peer first than the ranks beside: no rank is sent to by all at once.
    for_each_piece([&](int distance, std::size_t round) {
      const int to = wrapped(rank_ + distance, size_);
      if (round >= pieces_of_rank(to).size()) return;
      const Piece& piece = pieces_of_rank(to)[round];
      schedule_.sends.push_back({.peer = to, .offset = piece.offset, .count = piece.count});
    });
    for_each_piece([&](int distance, std::size_t round) {
      if (round >= pieces_of_rank(rank_).size()) return;
      const Piece& piece = pieces_of_rank(rank_)[round];
      schedule_.receives.push_back({.peer = wrapped(rank_ - distance, size_),
                                    .offset = piece.offset,
                                    .count = piece.count,
                                    .scratch = schedule_.scratch_elements,
                                    .sum = true});
      schedule_.scratch_elements += piece.count;
    });
  }

  void add_all_gather() {
    for_each_piece([&](int distance, std::size_t round) {
      if (round >= pieces_of_rank(rank_).size()) return;
      const Piece& piece = pieces_of_rank(rank_)[round];
      const int to = wrapped(rank_ + distance, size_);
      schedule_.sends.push_back({.peer = to, .offset = piece.offset, .count = piece.count, .own = true});
    });
    for_each_piece([&](int distance, std::size_t round) {
      const int from = wrapped(rank_ - distance, size_);
      if (round >= pieces_of_rank(from).size()) return;
      const Piece& piece = pieces_of_rank(from)[round];
      schedule_.receives.push_back({.peer = from, .offset = piece.offset, .count = piece.count});
    });
  }

  Schedule take() { return std::move(schedule_); }

 private:
  const std::vector<Piece>& pieces_of_rank(int rank) const { return pieces_[static_cast<std::size_t>(rank)]; }

  /// visit(distance, round): the rounds in order, in each all distances.
  template <typename Function>
  void for_each_piece(const Function& visit) const {
    for (std::size_t round = 0; round < rounds_; ++round) {
      for (int distance = 1; distance < size_; ++distance) visit(distance, round);
    }
  }

  int rank_, size_;
  std::size_t rounds_ = 0;
  std::vector<std::vector<Piece>> pieces_;  // by owner
  Schedule schedule_;
};

}  // namespace

Schedule exchange_reduce_scatter(const Shards& shards, int rank, std::int64_t segment) {
  Exchange exchange(shards, rank, segment);
  exchange.add_reduce_scatter();
  return exchange.take();
}

Schedule exchange_all_gather(const Shards& shards, int rank, std::int64_t segment) {
  Exchange exchange(shards, rank, segment);
  exchange.add_all_gather();
  return exchange.take();
}

Schedule ring_all_reduce(const Shards& shards, int rank, std::int64_t segment) {
  const int hops = ranks_of(shards) - 1;
  return Ring{.shards = shards, .rank = rank, .first = rank - 1, .hops = 2 * hops, .sums = hops, .segment = segment}
      .build();
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
