// Measures the network between the ranks: latency, bandwidth and the time of an all-reduce by size.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// One all-reduce of `bytes` (fp32) took the slowest rank `seconds`, median of several.
struct AllReducePoint {
  std::int64_t bytes = 0;
  double seconds = 0;
};

/// One message of `bytes` that each rank sends alone to its neighbour in the ring took the slowest `seconds`, median of
/// several.
struct MessagePoint {
  std::int64_t bytes = 0;
  double seconds = 0;
};

struct NetworkMeasurement {
  double latency_seconds = 0;          // half a round trip of one byte between neighbours of the ring, the worst pair
  double bytes_per_second = 0;         // of the slowest ring neighbour link, while all links carry traffic
  double cpu_seconds_per_byte = 0;     // of the engine thread, per byte sent and received
  std::vector<AllReducePoint> curve;   // by bytes, rising
  std::vector<MessagePoint> messages;  // by bytes, rising: 8 KiB, 32 KiB, .. 2 MiB, fewer where time ends
};

/// Measures sizes 4 KiB, 16 KiB, .. up to `largest_bytes` within about `budget_seconds`; every rank gets the same
/// result. One rank gives zeros and an empty curve. All ranks must call it.
NetworkMeasurement probe_network(Communicator& communicator, std::int64_t largest_bytes, double budget_seconds);

/// Bytes a second, by rank, that each rank's own link carries in either direction while both are busy; every rank gets
/// the same result. One rank gives {0}. All ranks must call it.
///
/// One rank after the other exchanges with all others at once: what each of them can take, so that a slow peer does not
/// hold up the link that is measured. A link faster than all others together is measured as these. Each rank has an
/// equal part of `budget_seconds`: the time does not grow with the ranks, but what is measured in it shrinks (at 1 Gb/s
/// 2 s let each of 16 ranks move some 4 MB each way, twice) and gets noisier. Where ranks share a host they share a
/// link, and figures of them one by one mean little.
std::vector<double> probe_links(Communicator& communicator, double budget_seconds);

}  // namespace lshdp::comm
