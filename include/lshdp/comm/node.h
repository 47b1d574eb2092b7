// Which ranks share a node, and what they can do with it: memory that all of them see, and waiting for each other.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <pthread.h>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// Ranks by node. Nodes stand in the order of their lowest rank, the ranks of a node rise; the first is its leader.
struct NodeMap {
  std::vector<std::vector<int>> nodes;
  int node_of(int rank) const;
  int local_rank(int rank) const;  // among the ranks of its node
  bool leads(int rank) const { return local_rank(rank) == 0; }
  std::vector<int> leaders() const;
  /// All ranks, node after node.
  std::vector<int> in_node_order() const;
};

/// Ranks of the same name share a node. `names`: by rank, as gather_hosts() makes them.
NodeMap map_nodes(const std::vector<std::string>& names);

/// Memory that the ranks of a node see together, zero at first. It has no name and is gone with the last process that
/// sees it, however that ends. (An MPI window would be freed by all its ranks together: a rank that fails would wait
/// for the others.)
class NodeMemory {
 public:
  /// All ranks of `communicator` must call it, each node with the same number of bytes. `first_touch` runs on the
  /// node's leader, before the others see the memory. Throws AgreedError where a host does not have or does not share
  /// it: a rank proves that it has found its leader's memory before it opens it for writing.
  NodeMemory(Communicator& communicator, const NodeMap& map, std::int64_t bytes,
             const std::function<void(std::byte*)>& first_touch = {});
  ~NodeMemory();
  NodeMemory(const NodeMemory&) = delete;
  NodeMemory& operator=(const NodeMemory&) = delete;

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  void map(int file);

  std::byte* data_ = nullptr;
  std::int64_t bytes_;
};

/// A lock with a bell, for processes that share the memory it lies in. Use it with std::unique_lock. A waiter sleeps.
class NodeMonitor {
 public:
  NodeMonitor();  // in NodeMemory, by one process
  NodeMonitor(const NodeMonitor&) = delete;
  NodeMonitor& operator=(const NodeMonitor&) = delete;

  void lock();
  void unlock();
  /// Wakes all who wait, in all processes. Call it with or without the lock.
  void ring();
  /// With the lock held: returns true when `condition` holds (tested under the lock), false once `give_up` is set,
  /// whatever other processes do.
  bool wait(const std::function<bool()>& condition, const std::atomic<bool>& give_up);

 private:
  pthread_mutex_t mutex_;
  pthread_cond_t rung_;
};

}  // namespace lshdp::comm
