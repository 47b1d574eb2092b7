// Communicator: asynchronous collectives over one group of ranks, matched by tag, driven by one engine thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lshdp/core/wire.h"

namespace lshdp::comm {

enum class DataType : std::uint8_t { byte, bfloat16, float16, float32, float64 };

/// Bytes of one element.
std::size_t size_of(DataType type);

/// `count` elements of memory that the caller owns and leaves alone while an operation works on it.
struct Buffer {
  void* data = nullptr;
  std::int64_t count = 0;  // elements
  DataType type = DataType::float32;
};

/// How a vector is cut: rank r's shard is the elements [bounds[r], bounds[r + 1]). bounds has one entry more than there
/// are ranks, begins with 0, never falls and ends with the length of the vector. Shards may be empty.
struct Shards {
  std::vector<std::int64_t> bounds;
  std::int64_t begin(int rank) const { return bounds[static_cast<std::size_t>(rank)]; }
  std::int64_t end(int rank) const { return bounds[static_cast<std::size_t>(rank) + 1]; }
  std::int64_t count(int rank) const { return end(rank) - begin(rank); }
};

/// `count` elements in `ranks` shards whose sizes differ by at most `alignment` elements (a multiple of which each
/// begins at).
Shards equal_shards(std::int64_t count, int ranks, std::int64_t alignment = 1);

/// Elements; a cache line of float32. Of a vector cut at odd places, sending and receiving take a quarter more CPU time
/// (benchmarks/allreduce on 3 nodes, 48 MiB and 48 MiB + 4 bytes).
inline constexpr std::int64_t kShardAlignment = 16;
/// How all_reduce_sum cuts a vector.
Shards all_reduce_shards(std::int64_t count, int ranks);

/// Operations in the order of the calls, which then must be the same on all ranks.
inline constexpr int kInOrder = -1;
/// Tags of operations are 0 .. kLargestTag.
inline constexpr int kLargestTag = 999'999;

/// How an operation is carried out. Every rank passes the same tag and wire.
struct Transfer {
  int tag = kInOrder;       // >= 0: matched by this number; of operations under way at one time no two have the same
  int priority = 0;         // of what could be sent next, the lowest goes first
  Wire wire = Wire::exact;  // bf16 for float32 sums and gathers only
  bool deferred = false;    // receives are posted now, nothing is sent before Work::start()
  // Sums: memory to receive into, scratch_bytes() long; where it is empty, the communicator allocates it.
  std::span<std::byte> scratch = {};
};

/// An operation under way. Copies share it. A default-constructed Work is done.
class Work {
 public:
  class State;
  Work() = default;
  explicit Work(std::shared_ptr<State> state) : state_(std::move(state)) {}
  /// A deferred operation's local data are ready: it may send. Throws std::logic_error if the operation was not
  /// deferred.
  void start();
  /// Returns when the result is there and the memory is the caller's again. Throws RunError if the operation failed.
  void wait();
  /// True once wait() would return without waiting.
  bool done() const;
  /// `call` runs once, on a thread of the communicator or at once on this one, when the operation is done or has
  /// failed. It must not block, throw, or call the communicator.
  void when_done(std::function<void()> call);
  /// Seconds (now_seconds()) at which the operation could begin and at which it was finished; 0 while not known.
  double began() const;
  double finished() const;

 private:
  std::shared_ptr<State> state_;
};

/// What a Work refers to; each backend derives from it.
class Work::State {
 public:
  virtual ~State() = default;
  virtual void start() = 0;
  virtual void wait() = 0;
  virtual bool done() const = 0;
  virtual void when_done(std::function<void()> call) = 0;
  virtual double began() const = 0;
  virtual double finished() const = 0;
};

/// How a communicator sends.
struct SendSizes {
  std::int64_t segment_bytes =
      256 << 10;            // the unit of sending: long messages are cut, so that urgent ones need not wait
  int sends_in_flight = 4;  // segments under way at a time
  bool operator==(const SendSizes&) const = default;
};

/// Totals since the communicator was made.
struct Counters {
  std::int64_t bytes_sent = 0;
  std::int64_t bytes_received = 0;
  double busy_seconds = 0;     // at least one started operation was under way
  double exposed_seconds = 0;  // a caller stood in Work::wait()
  double cpu_seconds = 0;      // of the engine thread
};

/// A group of ranks. All ranks make the same collective calls; calls return at once and the Work tells the rest.
/// Calls may come from any thread of the rank. Every call throws std::invalid_argument on a buffer, shards, tag or rank
/// that make no sense; failures of the transport surface as RunError in Work::wait().
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Whether reduce_scatter_sum and all_gather take vectors in the memory of the rank's device, not only of the host.
  virtual bool moves_device_memory() const { return false; }

  /// In place: afterwards this rank's shard of `vector` is the sum over ranks; the rest of `vector` is undefined.
  /// float32 or float64. The sum of a shard has the same bits whichever order operations complete in.
  virtual Work reduce_scatter_sum(Buffer vector, const Shards& shards, const Transfer& how = {}) = 0;
  /// In place: sends this rank's shard to all; afterwards `vector` is whole. Others' shards may be written from now on.
  virtual Work all_gather(Buffer vector, const Shards& shards, const Transfer& how = {}) = 0;
  /// In place: `vector` becomes the sum over ranks, the same bits on every rank. float32 or float64.
  virtual Work all_reduce_sum(Buffer vector, const Transfer& how = {}) = 0;
  /// Rank r's shard of `out` goes to rank r; what rank r sends here arrives in r's shard of `in`. How long each is both
  /// ends must know. This rank's own shards are left alone. One type; exact only.
  virtual Work all_to_all(Buffer out, const Shards& out_shards, Buffer in, const Shards& in_shards,
                          const Transfer& how = {}) = 0;
  /// `vector` of `root` to all.
  virtual Work broadcast(Buffer vector, int root, const Transfer& how = {}) = 0;
  virtual Work send(Buffer vector, int to, const Transfer& how = {}) = 0;
  virtual Work receive(Buffer vector, int from, const Transfer& how = {}) = 0;
  /// Returns when every rank has called it.
  virtual void barrier() = 0;

  /// A communicator of their own, tags included, over `ranks` (rising, this rank among them), which all of them must
  /// call; ranks of the new one are indices of `ranks`. Destroy it on all of them, before this one. Both count
  /// together: counters() of either gives the totals of both.
  virtual std::unique_ptr<Communicator> subgroup(const std::vector<int>& ranks) = 0;

  /// From the next operation on, and in subgroups made from now on (those there are keep theirs). All ranks must call
  /// it with the same sizes, while nothing is under way on any of them and no other thread calls. Throws on every rank,
  /// and changes nothing: std::invalid_argument where sizes differ between ranks or make no sense, std::logic_error
  /// where something is under way on any rank. A backend that does not cut messages has nothing to do.
  virtual void set_send_sizes(const SendSizes& sizes) { static_cast<void>(sizes); }
  virtual SendSizes send_sizes() const { return {}; }

  /// This rank gives up: operations under way and to come fail with RunError, at once. For the way out after an error,
  /// when other ranks may never answer; the process must end (MpiSession::abort) soon after.
  virtual void abandon() = 0;

  virtual Counters counters() const = 0;
};

/// Bytes of Transfer::scratch that reduce_scatter_sum (and all_reduce_sum with all_reduce_shards) want at `rank`: its
/// shard arrives once from every other rank, and each copy has its own place. 0 for one rank.
std::size_t scratch_bytes(const Shards& shards, DataType type, int rank, Wire wire = Wire::exact);

}  // namespace lshdp::comm
