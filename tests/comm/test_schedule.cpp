// Schedules played by ranks that are plain vectors: right whatever the order of events, and right beyond 2^31 elements.
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "schedule.h"

namespace lshdp::comm {
namespace {

using Vector = std::vector<double>;

/// One rank of the play: its vector and how far its lists have come.
struct Player {
  Schedule schedule;
  Vector vector;
  std::size_t sent = 0, received = 0;

  bool can_send() const {
    return sent < schedule.sends.size() && schedule.sends[sent].after < static_cast<std::int64_t>(received);
  }
  bool can_receive() const {
    return received < schedule.receives.size() && schedule.receives[received].after < static_cast<std::int64_t>(sent);
  }
};

/// Messages under way, by (from, to).
using Network = std::map<std::pair<int, int>, std::deque<Vector>>;

void send(Player& player, int rank, Network& network) {
  const Outgoing& send = player.schedule.sends[player.sent++];
  const auto begin = player.vector.begin() + send.offset;
  network[{rank, send.peer}].emplace_back(begin, begin + send.count);
}

bool receive(Player& player, int rank, Network& network) {
  const Incoming& incoming = player.schedule.receives[player.received];
  auto& queue = network[{incoming.peer, rank}];
  if (queue.empty()) return false;
  EXPECT_EQ(queue.front().size(), static_cast<std::size_t>(incoming.count));
  for (std::int64_t i = 0; i < incoming.count; ++i) {
    double& element = player.vector[static_cast<std::size_t>(incoming.offset + i)];
    element = (incoming.sum ? element : 0) + queue.front()[static_cast<std::size_t>(i)];
  }
  queue.pop_front();
  ++player.received;
  return true;
}

/// Plays until nothing moves, ranks taking turns at random; then every list must be at its end.
void play(std::vector<Player>& players, unsigned seed) {
  Network network;
  std::mt19937 random(seed);
  for (int idle = 0; idle < 200;) {
    const int rank = static_cast<int>(random() % players.size());
    Player& player = players[static_cast<std::size_t>(rank)];
    bool moved = false;
    if (random() % 2 == 0 && player.can_send()) {
      send(player, rank, network);
      moved = true;
    } else if (player.can_receive()) {
      moved = receive(player, rank, network);
    }
    idle = moved ? 0 : idle + 1;
  }
  for (const Player& player : players) {
    EXPECT_EQ(player.sent, player.schedule.sends.size());
    EXPECT_EQ(player.received, player.schedule.receives.size());
  }
}

std::vector<Player> players(int size, std::int64_t count, const std::function<Schedule(int)>& schedule_of) {
  std::vector<Player> result;
  for (int rank = 0; rank < size; ++rank) {
    Vector vector(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) vector[static_cast<std::size_t>(i)] = static_cast<double>(rank * 1000 + i);
    result.push_back({.schedule = schedule_of(rank), .vector = std::move(vector)});
  }
  return result;
}

double sum_at(int size, std::int64_t i) { return size * (size - 1) / 2 * 1000.0 + static_cast<double>(size * i); }

Shards uneven(std::int64_t count, int size) {
  Shards shards{{0}};
  for (int rank = 1; rank <= size; ++rank) shards.bounds.push_back(count * rank * rank / (size * size));
  return shards;
}

TEST(Schedules, OfSumsAddEveryRankOnce) {
  for (const int size : {1, 2, 3, 4, 7})
    for (const std::int64_t count : {0, 1, 5, 40})
      for (const std::int64_t segment : {1, 3, 100}) {
        const Shards shards = uneven(count, size);
        auto scattered = players(size, count, [&](int rank) { return exchange_reduce_scatter(shards, rank, segment); });
        play(scattered, 1);
        auto reduced = players(size, count, [&](int rank) { return ring_all_reduce(shards, rank, segment); });
        play(reduced, 2);
        for (int rank = 0; rank < size; ++rank) {
          const auto r = static_cast<std::size_t>(rank);
          for (std::int64_t i = shards.begin(rank); i < shards.end(rank); ++i)
            EXPECT_EQ(scattered[r].vector[static_cast<std::size_t>(i)], sum_at(size, i));
          for (std::int64_t i = 0; i < count; ++i)
            EXPECT_EQ(reduced[r].vector[static_cast<std::size_t>(i)], sum_at(size, i));
          EXPECT_EQ(static_cast<std::size_t>(scattered[r].schedule.scratch_elements) * 4,
                    scratch_bytes(shards, DataType::float32, rank));
        }
      }
}

TEST(Schedules, OfCopiesBringTheOwnersData) {
  for (const int size : {1, 2, 3, 4, 7})
    for (const std::int64_t count : {0, 1, 5, 40}) {
      const Shards shards = uneven(count, size);
      auto gathered = players(size, count, [&](int rank) { return exchange_all_gather(shards, rank, 3); });
      play(gathered, 3);
      for (int owner = 0; owner < size; ++owner)
        for (std::int64_t i = shards.begin(owner); i < shards.end(owner); ++i)
          for (const Player& player : gathered)
            EXPECT_EQ(player.vector[static_cast<std::size_t>(i)], static_cast<double>(owner * 1000 + i));
      const int root = size / 2;
      auto chain = players(size, count, [&](int rank) { return chain_broadcast(count, root, rank, size, 3); });
      play(chain, 5);
      for (const Player& player : chain) EXPECT_EQ(player.vector, chain[static_cast<std::size_t>(root)].vector);
    }
}

TEST(Schedules, OfAnAllReduceOverwriteOnlyWhatHasBeenSent) {
  const Schedule schedule = ring_all_reduce(equal_shards(1000, 4), 1, 64);
  for (const Incoming& receive : schedule.receives) {
    if (receive.sum) continue;
    ASSERT_GE(receive.after, 0);
    const Outgoing& sent = schedule.sends[static_cast<std::size_t>(receive.after)];
    EXPECT_EQ(sent.offset, receive.offset);
    EXPECT_EQ(sent.count, receive.count);
  }
}

TEST(Schedules, BeyondTwoToThe31ElementsCoverEverythingInSmallPieces) {
  const std::int64_t count = (std::int64_t{3} << 31) + 77, segment = std::int64_t{1} << 28;
  const Shards shards = equal_shards(count, 3);
  const Schedule schedule = ring_all_reduce(shards, 1, segment);
  std::int64_t sent = 0, received = 0;
  for (const Outgoing& send : schedule.sends) {
    EXPECT_LE(send.count, segment);
    EXPECT_GE(send.offset, 0);
    EXPECT_LE(send.offset + send.count, count);
    sent += send.count;
  }
  for (const Incoming& receive : schedule.receives) received += receive.count;
  // Every chunk travels on in both rounds, but for one hop each.
  EXPECT_EQ(sent, 2 * count - shards.count(1) - shards.count(2));
  EXPECT_EQ(received, 2 * count - shards.count(0) - shards.count(1));
  EXPECT_EQ(message_to(1, count, segment).sends.back().offset + message_to(1, count, segment).sends.back().count,
            count);
}

}  // namespace
}  // namespace lshdp::comm
