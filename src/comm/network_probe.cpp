// Round trips, ring streams and all-reduces, timed on all ranks together.
#include "lshdp/comm/network_probe.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"

namespace lshdp::comm {
namespace {

constexpr std::size_t kRoundTrips = 15;
constexpr std::size_t kRepetitions = 5;
constexpr std::int64_t kFirstBytes = 4096, kLargestStream = 64 << 20;
// Shorter ones travel another way, and of longer ones the bytes are all that counts.
constexpr std::int64_t kFirstMessage = 8 << 10, kLargestMessage = 2 << 20;
constexpr std::size_t kMessageRepetitions = 9;
constexpr double kFirstToPeer = 64 << 10, kMinToPeer = 4096;  // bytes, of one link's exchange
constexpr int kCountedExchanges = 2;                          // whose best counts: noise only makes links slower
constexpr std::int64_t kPiece = 256 << 10;                    // peers take turns by so many bytes

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double slowest(Communicator& communicator, double seconds) {
  const auto all = all_gather_values(communicator, seconds);
  return *std::max_element(all.begin(), all.end());
}

double total(Communicator& communicator, double value) {
  double sum = 0;
  for (const double one : all_gather_values(communicator, value)) sum += one;
  return sum;
}

/// What `work` took the slowest rank, all beginning together.
template <typename Function>
double timed(Communicator& communicator, const Function& work) {
  communicator.barrier();
  const double begun = now_seconds();
  work();
  return slowest(communicator, now_seconds() - begun);
}

/// Half a round trip of one byte, median of several, at most about `budget_seconds`. The side that leads says in the
/// byte whether this trip is the last, so that both stop together.
double half_round_trip(Communicator& communicator, int peer, bool leads, double budget_seconds) {
  const double deadline = now_seconds() + budget_seconds;
  std::byte last{};
  const Buffer buffer{&last, 1, DataType::byte};
  std::vector<double> seconds;
  while (last == std::byte{0}) {
    const double begun = now_seconds();
    if (leads) {
      last = std::byte{seconds.size() + 1 == kRoundTrips || begun > deadline};
      communicator.send(buffer, peer).wait();
    }
    communicator.receive(buffer, peer).wait();
    if (!leads) communicator.send(buffer, peer).wait();
    seconds.push_back((now_seconds() - begun) / 2);
  }
  return median(seconds);
}

/// The links of the ring, link r between r and r + 1, are measured in up to three rounds, so that no rank is in two at
/// once.
double probe_latency(Communicator& communicator, double budget_seconds) {
  const int rank = communicator.rank(), size = communicator.size();
  const int right = (rank + 1) % size, left = (rank + size - 1) % size;
  const auto round_of = [size](int link) { return size % 2 == 1 && link == size - 1 ? 2 : link % 2; };
  double worst = 0;
  for (int round = 0; round < 3; ++round) {
    communicator.barrier();
    if (round_of(rank) == round) worst = half_round_trip(communicator, right, true, budget_seconds / 3);
    if (round_of(left) == round) half_round_trip(communicator, left, false, budget_seconds / 3);
  }
  return slowest(communicator, worst);
}

/// Seconds in which `bytes` travel over every link of the ring at once.
double stream_round(Communicator& communicator, std::int64_t bytes, std::vector<std::byte>& out,
                    std::vector<std::byte>& in) {
  const int rank = communicator.rank(), size = communicator.size();
  return timed(communicator, [&] {
    Work received = communicator.receive({in.data(), bytes, DataType::byte}, (rank + size - 1) % size);
    communicator.send({out.data(), bytes, DataType::byte}, (rank + 1) % size).wait();
    received.wait();
  });
}

/// Grows the stream until it is long enough to time, or takes more than its share of the budget.
double probe_bandwidth(Communicator& communicator, double budget_seconds) {
  double rate = 0, spent = 0;
  for (std::int64_t bytes = 1 << 20; bytes <= kLargestStream; bytes *= 4) {
    std::vector<std::byte> out(static_cast<std::size_t>(bytes)), in(out.size());
    const double seconds = stream_round(communicator, bytes, out, in);
    rate = static_cast<double>(bytes) / seconds;
    spent += seconds;
    if (spent + 4 * seconds > budget_seconds) break;
  }
  return rate;
}

/// Messages that travel one at a time. What the time ends before is left out.
std::vector<MessagePoint> probe_messages(Communicator& communicator, double budget_seconds) {
  std::vector<MessagePoint> points;
  double spent = 0, last = 0;
  for (std::int64_t bytes = kFirstMessage; bytes <= kLargestMessage; bytes *= 4) {
    if (!points.empty() && spent + 4 * last > budget_seconds) break;
    std::vector<std::byte> out(static_cast<std::size_t>(bytes)), in(out.size());
    std::vector<double> seconds;
    const double deadline = spent + budget_seconds / 5;
    do {
      seconds.push_back(stream_round(communicator, bytes, out, in));
      last = seconds.back();
      spent += last;
    } while (seconds.size() < kMessageRepetitions && spent + last < deadline);
    points.push_back({bytes, median(std::move(seconds))});
  }
  return points;
}

/// 4 KiB, 16 KiB, .. and `largest_bytes` itself.
std::vector<std::int64_t> sizes_up_to(std::int64_t largest_bytes) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t bytes = kFirstBytes; bytes < largest_bytes; bytes *= 4) sizes.push_back(bytes);
  sizes.push_back(std::max<std::int64_t>(largest_bytes, sizeof(float)));
  return sizes;
}

/// The median of several all-reduces, fewer where one of them takes long.
AllReducePoint probe_all_reduce(Communicator& communicator, std::int64_t bytes, double budget_seconds) {
  std::vector<float> data(static_cast<std::size_t>(bytes) / sizeof(float));
  const Buffer buffer{data.data(), static_cast<std::int64_t>(data.size()), DataType::float32};
  std::vector<double> seconds;
  double spent = 0;
  do {
    seconds.push_back(timed(communicator, [&] { communicator.all_reduce_sum(buffer).wait(); }));
    spent += seconds.back();
  } while (seconds.size() < kRepetitions && spent + seconds.back() < budget_seconds);
  return {.bytes = buffer.count * static_cast<std::int64_t>(sizeof(float)), .seconds = median(seconds)};
}

/// Rank 0's clock decides, so that all ranks go on or stop together.
bool time_left(Communicator& communicator, double deadline, double wanted_seconds) {
  return all_gather_values(communicator, deadline - now_seconds()).front() > wanted_seconds;
}

/// CPU-seconds of all engines per byte that they sent or received since `before`.
double cpu_per_byte(Communicator& communicator, const Counters& before) {
  const Counters after = communicator.counters();
  const double cpu = total(communicator, after.cpu_seconds - before.cpu_seconds);
  const double bytes = total(communicator, static_cast<double>(after.bytes_sent - before.bytes_sent) +
                                               static_cast<double>(after.bytes_received - before.bytes_received));
  return bytes > 0 ? cpu / bytes : 0;
}

/// Bytes that one rank exchanges with each other rank, both ways.
using Portions = std::vector<double>;

/// Posts the receives and sends of this rank's side of an exchange, piece by piece, the peers in turn.
std::vector<Work> post_exchange(Communicator& communicator, const std::vector<int>& peers, const Portions& portions,
                                std::vector<std::byte>& out, std::vector<std::byte>& in) {
  std::vector<Work> works;
  std::int64_t place = 0;
  bool more = true;
  for (std::int64_t skipped = 0; more; skipped += kPiece) {
    more = false;
    for (std::size_t i = 0; i < peers.size(); ++i) {
      const std::int64_t bytes = std::min(kPiece, static_cast<std::int64_t>(portions[i]) - skipped);
      if (bytes <= 0) continue;
      more = true;
      works.push_back(communicator.receive({in.data() + place, bytes, DataType::byte}, peers[i]));
      works.push_back(communicator.send({out.data(), bytes, DataType::byte}, peers[i]));
      place += bytes;
    }
  }
  return works;
}

/// Rank `centre` exchanges portions[p] bytes both ways with each other rank p at once. Seconds it took each, by rank.
std::vector<double> exchange(Communicator& communicator, int centre, const Portions& portions) {
  const int rank = communicator.rank();
  std::vector<int> peers;
  Portions mine;
  for (int peer = 0; peer < communicator.size(); ++peer) {
    if (peer == rank || (rank != centre && peer != centre)) continue;
    peers.push_back(peer);
    mine.push_back(portions[static_cast<std::size_t>(rank == centre ? peer : rank)]);
  }
  std::vector<std::byte> out(static_cast<std::size_t>(kPiece));
  std::vector<std::byte> in(static_cast<std::size_t>(std::accumulate(mine.begin(), mine.end(), 0.0)));
  communicator.barrier();
  const double begun = now_seconds();
  for (Work& work : post_exchange(communicator, peers, mine, out, in)) work.wait();
  return all_gather_values(communicator, now_seconds() - begun);
}

/// What each peer can exchange in `seconds`, going by the last exchange; all together at most kLargestStream.
Portions next_portions(const Portions& last, const std::vector<double>& took, double seconds) {
  Portions next(last.size(), 0);
  for (std::size_t peer = 0; peer < last.size(); ++peer)
    next[peer] = last[peer] > 0 ? last[peer] / took[peer] * seconds : 0;
  const double total = std::accumulate(next.begin(), next.end(), 0.0);
  const double scale = std::min(1.0, static_cast<double>(kLargestStream) / total);
  for (std::size_t peer = 0; peer < last.size(); ++peer)
    next[peer] = last[peer] > 0 ? std::max(kMinToPeer, std::floor(next[peer] * scale)) : 0;
  return next;
}

/// The rate of the link of rank `centre`, by whose word the next portions go. Exchanges grow until one lasts a good
/// part of the time; that and the next count.
double probe_link(Communicator& communicator, int centre, double budget_seconds) {
  const auto size = static_cast<std::size_t>(communicator.size());
  const double wanted = budget_seconds / (kCountedExchanges + 2);
  Portions portions(size, kFirstToPeer);
  portions[static_cast<std::size_t>(centre)] = 0;
  double rate = 0;
  for (int counted = 0; counted < kCountedExchanges;) {
    const std::vector<double> took = exchange(communicator, centre, portions);
    const double seconds = *std::max_element(took.begin(), took.end());
    const double total = std::accumulate(portions.begin(), portions.end(), 0.0);
    if (seconds >= wanted / 2 || total >= 0.9 * static_cast<double>(kLargestStream)) {
      rate = std::max(rate, total / seconds);
      ++counted;
    }
    if (seconds > budget_seconds) break;
    portions = next_portions(portions, took, std::min(wanted, 4 * seconds));
    communicator.broadcast({portions.data(), static_cast<std::int64_t>(size), DataType::float64}, centre).wait();
  }
  return rate;
}

}  // namespace

NetworkMeasurement probe_network(Communicator& communicator, std::int64_t largest_bytes, double budget_seconds) {
  NetworkMeasurement result;
  if (communicator.size() == 1) return result;
  const double deadline = now_seconds() + budget_seconds;
  result.latency_seconds = probe_latency(communicator, 0.1 * budget_seconds);
  result.bytes_per_second = probe_bandwidth(communicator, 0.25 * budget_seconds);
  result.messages = probe_messages(communicator, 0.15 * budget_seconds);
  double last_seconds = 0;
  for (const std::int64_t bytes : sizes_up_to(largest_bytes)) {
    // Up to four times the bytes of the size before: what cannot be done in the time left is left out.
    if (!result.curve.empty() && !time_left(communicator, deadline, 4 * last_seconds)) break;
    const Counters before = communicator.counters();
    result.curve.push_back(probe_all_reduce(communicator, bytes, 0.15 * budget_seconds));
    last_seconds = result.curve.back().seconds;
    result.cpu_seconds_per_byte = cpu_per_byte(communicator, before);
  }
  return result;
}

std::vector<double> probe_links(Communicator& communicator, double budget_seconds) {
  const int size = communicator.size();
  std::vector<double> rates(static_cast<std::size_t>(size), 0);
  for (int rank = 0; rank < size && size > 1; ++rank)
    rates[static_cast<std::size_t>(rank)] = probe_link(communicator, rank, budget_seconds / size);
  return rates;
}

}  // namespace lshdp::comm
