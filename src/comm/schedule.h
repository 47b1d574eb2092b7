// What one rank sends and receives in one operation, in which order and after what: plain data, no transport.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// Elements [offset, offset + count) go to `peer` once receive number `after` (-1: none) has been worked in.
struct Outgoing {
  int peer = 0;
  std::int64_t offset = 0;
  std::int64_t count = 0;
  std::int64_t after = -1;
  bool from_scratch = false;  // offset counts in scratch, not in the vector
  bool own = false;           // final data of this rank's own shard: what is rounded on the wire is rounded here too
};

/// Elements [offset, offset + count) come from `peer`; they may be received once send number `after` (-1: none) is
/// through.
struct Incoming {
  int peer = 0;
  std::int64_t offset = 0;
  std::int64_t count = 0;
  std::int64_t after = -1;
  std::int64_t scratch = -1;  // where in scratch they arrive, in elements; -1: straight in their place in the vector
  bool sum = false;           // they are added to the vector
};

/// Sends and receives, each in the order of issue. Messages between two ranks match in order, so both lists agree
/// between sender and receiver. Every piece has at most `segment` elements and none is empty.
struct Schedule {
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  std::int64_t scratch_elements = 0;
  // Scratch holds one copy of the vector per rank; they are summed in rank order when all are there.
  bool sums_copies = false;
};

/// Every rank sends its part of each shard straight to the shard's owner, which adds them in the order of distance. As
/// many bytes as a ring, (N-1)/N of the vector with equal shards, but one hop instead of N-1, and what two fast ranks
/// exchange does not pass through a slow one.
Schedule exchange_reduce_scatter(const Shards& shards, int rank, std::int64_t segment);
/// Every owner sends its shard straight to all.
Schedule exchange_all_gather(const Shards& shards, int rank, std::int64_t segment);
/// Every rank sends each other rank the shard of `out` that is for it, and receives its shards of `in` in scratch.
Schedule exchange_all_to_all(const Shards& out, const Shards& in, int rank, std::int64_t segment);
/// A reduce-scatter and an all-gather as one ring of 2(N-1) hops, without a pause between them: at hop h, rank r sends
/// chunk r-h-1 to r+1 and receives chunk r-h-2 from r-1. For a vector that travels alone: with one sender to each
/// receiver it fills a link better than an exchange (results/decisions.md has the figures).
Schedule ring_all_reduce(const Shards& shards, int rank, std::int64_t segment);
/// root, root+1, .. root-1: each passes a segment on as soon as it has it.
Schedule chain_broadcast(std::int64_t count, int root, int rank, int size, std::int64_t segment);
/// `count` elements to or from one peer.
Schedule message_to(int peer, std::int64_t count, std::int64_t segment);
Schedule message_from(int peer, std::int64_t count, std::int64_t segment);

/// Small vectors: everybody sends directly to everybody, one message each.
Schedule direct_all_reduce(std::int64_t count, int rank, int size);
Schedule direct_broadcast(std::int64_t count, int root, int rank, int size);

}  // namespace lshdp::comm
