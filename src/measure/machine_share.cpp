// Counts who shares each core and each bound on memory.
#include "lshdp/measure/machine_share.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>

#include "lshdp/comm/agree.h"
#include "lshdp/core/json.h"

namespace lshdp::measure {
namespace {

std::string to_text(const RankRoom& room) {
  Json memory = Json::array();
  for (const MemoryRoom& bound : room.memory) memory.push_back({bound.name, bound.left});
  return json_text(
      {{"cores", room.cores}, {"quota", room.quota.value_or(0)}, {"memory", memory}, {"on_host", room.on_host}});
}

RankRoom parse_room(const std::string& text) {
  const Json json = Json::parse(text);
  RankRoom room;
  room.cores = json["cores"].get<std::vector<int>>();
  if (const int quota = json["quota"]; quota > 0) room.quota = quota;
  for (const Json& bound : json["memory"]) room.memory.push_back({bound[0], bound[1]});
  room.on_host = json["on_host"];
  return room;
}

bool has_core(const RankRoom& room, int core) { return std::ranges::binary_search(room.cores, core); }

const MemoryRoom* find_bound(const RankRoom& room, const std::string& name) {
  const auto found = std::ranges::find(room.memory, name, &MemoryRoom::name);
  return found == room.memory.end() ? nullptr : &*found;
}

/// A rank's tightest bound: the one that leaves each of those who share it least.
struct Tightest {
  std::string name;
  std::int64_t left = 0, ranks = 1;
};

Tightest tightest_bound(const std::vector<RankRoom>& rooms, const RankRoom& mine) {
  Tightest tightest;
  double least = std::numeric_limits<double>::infinity();
  for (const MemoryRoom& bound : mine.memory) {
    std::int64_t sharing = 0, left = bound.left;
    for (const RankRoom& other : rooms) {
      const MemoryRoom* shared = other.machine == mine.machine ? find_bound(other, bound.name) : nullptr;
      if (shared == nullptr) continue;
      left = std::max(left, shared->left);  // looked at one after the other
      if (other.on_host) ++sharing;
    }
    const double each = static_cast<double>(left) / static_cast<double>(std::max<std::int64_t>(1, sharing));
    if (each >= least) continue;
    least = each;
    tightest = {bound.name, left, std::max<std::int64_t>(1, sharing)};
  }
  return tightest;
}

/// How many cores are in the masks of the ranks that `counts` names.
template <typename Counts>
int cores_of(const std::vector<RankRoom>& rooms, const Counts& counts) {
  std::set<int> cores;
  for (const RankRoom& room : rooms)
    if (counts(room)) cores.insert(room.cores.begin(), room.cores.end());
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace

std::vector<RankRoom> gather_rooms(comm::Communicator& communicator, const comm::Hosts& hosts, bool on_host) {
  RankRoom mine;
  comm::agree(communicator, [&] {
    mine = {.machine = "",
            .node = "",
            .cores = own_cores(),
            .quota = core_quota(),
            .memory = memory_rooms(),
            .on_host = on_host};
  });
  std::vector<RankRoom> rooms;
  for (const std::string& text : comm::all_gather_text(communicator, to_text(mine))) {
    rooms.push_back(parse_room(text));
    rooms.back().machine = hosts.machines[rooms.size() - 1];
    rooms.back().node = hosts.nodes[rooms.size() - 1];
  }
  return rooms;
}

int core_share(const std::vector<RankRoom>& rooms, std::size_t rank) {
  const RankRoom& mine = rooms[rank];
  double share = 0;
  for (const int core : mine.cores) {
    share += 1.0 / static_cast<double>(std::ranges::count_if(rooms, [&](const RankRoom& other) {
               return other.machine == mine.machine && has_core(other, core);
             }));
  }
  if (mine.quota) {
    const auto on_node = std::ranges::count(rooms, mine.node, &RankRoom::node);
    share = std::min(share, static_cast<double>(*mine.quota) / static_cast<double>(on_node));
  }
  return std::max(1, static_cast<int>(std::floor(share + 1e-9)));
}

int bound_cores(const std::vector<RankRoom>& rooms, std::size_t rank) {
  return cores_of(rooms, [&](const RankRoom& other) { return other.node == rooms[rank].node; });
}

int machine_cores(const std::vector<RankRoom>& rooms, std::size_t rank) {
  const int all = cores_of(rooms, [&](const RankRoom& other) { return other.machine == rooms[rank].machine; });
  int quota = 0;
  for (const RankRoom& other : rooms) {
    if (other.machine != rooms[rank].machine) continue;
    if (!other.quota) return all;
    quota = std::max(quota, *other.quota);
  }
  return std::min(all, quota);
}

std::vector<MemoryDomain> memory_domains(const std::vector<RankRoom>& rooms) {
  std::vector<MemoryDomain> domains;
  std::vector<std::string> keys, names;
  for (const RankRoom& room : rooms) {
    const Tightest bound = tightest_bound(rooms, room);
    domains.push_back({"", bound.left, bound.ranks});
    keys.push_back(room.machine + '\n' + bound.name);
    names.push_back(room.node);
  }
  const std::vector<std::string> labels = comm::label_keys(keys, names);
  for (std::size_t rank = 0; rank < domains.size(); ++rank) domains[rank].name = labels[rank];
  return domains;
}

std::optional<int> threads_of_environment() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return std::nullopt;
  int threads = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), threads);
  if (error != std::errc{} || threads < 1 || (*end != '\0' && *end != ',')) return std::nullopt;
  return threads;
}

}  // namespace lshdp::measure
