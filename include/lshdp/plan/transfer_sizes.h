// Sizes in flight: how long the pieces of a transfer are and how many are under way, from what was measured of the
// network.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// The same on all ranks: messages are matched by their segments.
struct TransferSizes {
  std::int64_t segment_bytes = 0;    // the unit of sending: longer transfers are cut
  std::int64_t sends_in_flight = 0;  // segments that a rank has under way
  std::int64_t bucket_bytes = 0;     // blocks are put together until their gradients have so many bytes
  bool operator==(const TransferSizes&) const = default;
};

/// What sizes follow from.
struct LinkFigures {
  double latency_seconds = 0;   // one way
  double bytes_per_second = 0;  // above 0
  double message_seconds = 0;   // of a message that travels alone, beyond its bytes over bytes_per_second
};

/// Powers of two, the nearest ones to (R = bytes_per_second, L = latency_seconds, m = message_seconds)
///
///   in flight = R (2 L + 8 ms)                                   bytes a rank has under way
///   segment   = m R / 4 %, within in flight / 16 .. in flight / 4    and 16 KiB .. 4 MiB
///   sends     = in flight / segment                              within 2 .. 16
///   bucket    = segment                                          within 32 KiB .. 512 KiB
///
/// In flight: what has left before its sender hears of the first byte's arrival, and what keeps the kernel's buffers
/// filled while the sender's core does something else: the engine sleeps up to 2 ms, and a core that computes is had
/// back after some slices. Longer pauses, such as those of a CPU quota (20 ms), the kernel's buffers bridge. It is also
/// how long an urgent message may stand behind others, so no more. A segment is long enough that what it costs beyond
/// its bytes is 4 % of its time on the wire, but no longer than a quarter of what is in flight: an urgent message waits
/// until a place is free, and others have several peers to send to. A bucket is exchanged by itself, which costs it m
/// at most 4 % of its time on the wire where segments are as long as that asks; longer ones would keep the boundary of
/// a step waiting, where nothing hides the first bucket.
///
/// 1 Gb/s with 0.1 to 1.5 ms: 256 KiB, 4 sends, 256 KiB, which were chosen by measuring steps (docs/decisions.md).
/// Throws std::invalid_argument on figures that are negative or not finite, and on a rate of 0.
TransferSizes transfer_sizes(const LinkFigures& link);

/// From the profile's network; none for one rank and where single messages were not measured (profiles of before).
/// m is the median over the measured messages, each at least L. Where links differ, the fastest one's rate counts, or
/// it would idle for others; messages of a slow link then stay in flight for longer.
std::optional<TransferSizes> transfer_sizes(const Profile& profile);

/// "segments of 1.00 MiB, 4 in flight, buckets of 256 KiB".
std::string describe(const TransferSizes& sizes);

/// The object "transfer" of batches.json. The reader throws UsageError naming the source and key: segments of less than
/// 4 KiB or more than 1 GiB, not 1 to 1024 sends, buckets below 0 or above 1 GiB.
nlohmann::json to_json(const TransferSizes& sizes);
TransferSizes transfer_sizes_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace lshdp::plan
