// NodeExchange: the network side of a node, on its leader: sums of complete buckets over nodes, and updated parameters
// to all nodes.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "layout/host_arena.h"
#include "lsdp/node_buckets.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/core/trace.h"

namespace lshdp::parallel {

/// Two threads. One starts a bucket's reduce-scatter when all ranks of the node have contributed, and its gather when
/// all have updated; the other tells the ranks of the node when a gather has made the parameters whole. Receives of
/// sums are posted from the last bucket down, as many buckets ahead of what is reduced as there are regions to receive
/// into: that bounds the memory. All nodes do so, so that none waits for another in a circle.
class NodeExchange {
 public:
  /// `leaders`: over the leaders of all nodes, in the order of nodes. `shards`: by bucket, those of nodes. `trace` may
  /// be null; it and `buckets` must outlive this. `on_error` is called on a thread that ends with an error.
  NodeExchange(NodeBuckets& buckets, std::unique_ptr<comm::Communicator> leaders, std::vector<comm::Shards> shards,
               Trace* trace, std::function<void(std::exception_ptr)> on_error);
  ~NodeExchange();

  /// The leader has begun this step, counted from 1.
  void begin_step(std::int64_t step);
  /// Returns when this node's shard of the bucket's sum over nodes is there, and tells the node.
  void finish_reduce(std::size_t bucket, std::int64_t step);
  /// The node's shard of the parameters to all nodes, and theirs here. All leaders must call it, outside steps.
  void gather_now(std::size_t bucket);
  /// Transfers under way fail: for the way out after an error, when others may be gone. `buckets` must have been told
  /// to give up before.
  void abandon() { leaders_->abandon(); }
  /// Ends the threads, when all gathers have been told or after abandon().
  void stop();
  std::int64_t scratch_bytes() const { return scratch_.bytes(); }
  comm::Counters counters() const { return leaders_->counters(); }
  /// Bytes of the regions that sums are received into, each as large as the largest bucket that uses it: at least
  /// kMinRegions, and more up to one for each bucket while they have less than kRoom together. `leader`: among
  /// leaders.
  static std::vector<std::int64_t> region_sizes(const std::vector<comm::Shards>& shards, comm::DataType type,
                                                int leader);

 private:
  static constexpr std::size_t kMinRegions = 4;
  // What a link of 1 Gb/s brings in half a second. With too little, a node that is behind holds up the sums of all:
  // four regions of 3.5 MB cost 0.15 s at the end of a step of 2 s (35/35/25/95 % of a core, results/decisions.md).
  static constexpr std::int64_t kRoom = 64 << 20;
  enum class Stage : std::uint8_t { idle, posted, reducing, gathering };
  struct State {
    Stage stage = Stage::idle;
    std::int64_t step = 0;  // of the stage
    comm::Work reduce, gather;
  };
  /// Memory that one bucket's sum at a time is received into.
  struct Region {
    at::Tensor memory;
    std::optional<std::size_t> user;  // until its sum is reduced
  };

  comm::DataType type() const;
  void start_loop();
  bool advance();
  bool post_next();
  void start_reduce(std::size_t bucket);
  void start_gather(std::size_t bucket);
  void notify_loop();
  std::optional<std::size_t> next_gathered();
  void guarded(void (NodeExchange::*loop)()) noexcept;
  Region& region_of(std::size_t bucket) { return regions_[bucket % regions_.size()]; }

  NodeBuckets& buckets_;
  std::unique_ptr<comm::Communicator> leaders_;
  std::vector<comm::Shards> shards_;
  Trace* trace_;
  std::function<void(std::exception_ptr)> on_error_;
  HostArena scratch_;

  // Under the node's monitor.
  std::vector<State> states_;
  std::vector<Region> regions_;
  std::int64_t begun_step_ = 0;
  std::int64_t post_step_ = 1;  // the step and bucket whose receives are posted next
  std::size_t post_bucket_;
  bool stopping_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::size_t gathering_ = 0;         // gathers under way
  std::deque<std::size_t> gathered_;  // buckets that are not told yet
  bool telling_ends_ = false;
  std::thread starter_, notifier_;
};

}  // namespace lshdp::parallel
