// Chooses for each call its schedule and its MPI tag, and hands it to the engine.
#include "lshdp/comm/mpi_communicator.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <fmt/format.h>
#include <mpi.h>

#include "engine.h"
#include "lshdp/core/error.h"
#include "schedule.h"
#include "validate.h"

namespace lshdp::comm {
namespace {

/// Vectors up to this size go directly to everybody: hops cost more than bytes.
constexpr std::int64_t kSmallBytes = 4096;

// Three ranges of MPI tags: those of the caller, collectives in order, messages between two ranks in order.
constexpr int kTagRange = kLargestTag + 1;

void require_tags() {
  void* value = nullptr;
  int found = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &value, &found);
  const int largest = found != 0 ? *static_cast<int*>(value) : 32767;
  if (largest < 3 * kTagRange)
    throw RunError(
        fmt::format("this MPI transport has tags up to {} only, lshdp needs {}: choose another (--mca pml ob1)",
                    largest, 3 * kTagRange));
}

EngineOptions checked(const EngineOptions& options) {
  if (options.sends_in_flight < 1 || options.segment_bytes < 1 || options.segment_bytes > (1 << 30) ||
      !(options.longest_sleep_seconds > 0))
    throw std::invalid_argument("engine options out of range");
  require_tags();
  return options;
}

class MpiCommunicator : public Communicator {
 public:
  /// `members`: ranks of MPI_COMM_WORLD; empty: all of it.
  MpiCommunicator(const EngineOptions& options, const std::vector<int>& members, std::shared_ptr<Meter> meter)
      : options_(options),
        members_(members),
        segment_bytes_(options.segment_bytes),
        engine_(checked(options), members, std::move(meter)),
        sends_in_order_(static_cast<std::size_t>(size())),
        receives_in_order_(static_cast<std::size_t>(size())) {}

  int rank() const override { return engine_.rank(); }
  int size() const override { return engine_.size(); }

  Work reduce_scatter_sum(Buffer vector, const Shards& shards, const Transfer& how) override {
    validate_sum(vector, shards, how, rank(), size());
    return submit(exchange_reduce_scatter(shards, rank(), segment(vector, how)), vector, how, collective_tag(how));
  }

  Work all_gather(Buffer vector, const Shards& shards, const Transfer& how) override {
    validate_gather(vector, shards, how, size());
    return submit(exchange_all_gather(shards, rank(), segment(vector, how)), vector, how, collective_tag(how));
  }

  Work all_to_all(Buffer out, const Shards& out_shards, Buffer in, const Shards& in_shards,
                  const Transfer& how) override {
    validate_all_to_all(out, out_shards, in, in_shards, how, size());
    Transfer arriving = how;
    arriving.scratch = {static_cast<std::byte*>(in.data), static_cast<std::size_t>(in.count) * size_of(in.type)};
    // Ranks whose buffers differ in length would not agree on what is small.
    return engine_.submit(exchange_all_to_all(out_shards, in_shards, rank(), segment(out, how)), out, arriving,
                          collective_tag(how), false);
  }

  Work all_reduce_sum(Buffer vector, const Transfer& how) override {
    validate_all_reduce(vector, how, rank(), size());
    auto schedule = small(vector) ? direct_all_reduce(vector.count, rank(), size())
                                  : ring_all_reduce(equal_shards(vector.count, size()), rank(), segment(vector, how));
    return submit(std::move(schedule), vector, how, collective_tag(how));
  }

  Work broadcast(Buffer vector, int root, const Transfer& how) override {
    validate_broadcast(vector, root, how, size());
    auto schedule = small(vector) ? direct_broadcast(vector.count, root, rank(), size())
                                  : chain_broadcast(vector.count, root, rank(), size(), segment(vector, how));
    return submit(std::move(schedule), vector, how, collective_tag(how));
  }

  Work send(Buffer vector, int to, const Transfer& how) override {
    validate_message(vector, to, how, rank(), size());
    return submit(message_to(to, vector.count, segment(vector, how)), vector, how,
                  message_tag(how, to, sends_in_order_));
  }

  Work receive(Buffer vector, int from, const Transfer& how) override {
    validate_message(vector, from, how, rank(), size());
    return submit(message_from(from, vector.count, segment(vector, how)), vector, how,
                  message_tag(how, from, receives_in_order_));
  }

  void barrier() override {
    float unused = 0;
    all_reduce_sum({&unused, 1, DataType::float32}, {}).wait();
  }

  std::unique_ptr<Communicator> subgroup(const std::vector<int>& ranks) override {
    validate_members(ranks, rank(), size());
    std::vector<int> members;
    for (const int rank : ranks) members.push_back(members_.empty() ? rank : members_[static_cast<std::size_t>(rank)]);
    return std::make_unique<MpiCommunicator>(options_, members, engine_.meter());
  }

  void abandon() override { engine_.abandon(); }

  Counters counters() const override { return engine_.counters(); }

 private:
  using Count = std::atomic<std::uint32_t>;

  static bool small(const Buffer& vector) {
    return vector.count <= kSmallBytes / static_cast<std::int64_t>(size_of(vector.type));
  }

  /// Elements of a segment, at least one.
  std::int64_t segment(const Buffer& vector, const Transfer& how) const {
    const std::size_t bytes = how.wire == Wire::bf16 ? 2 : size_of(vector.type);
    return std::max<std::int64_t>(1, segment_bytes_ / static_cast<std::int64_t>(bytes));
  }

  static int next(Count& count) { return static_cast<int>(count++ % kTagRange); }

  int collective_tag(const Transfer& how) {
    return how.tag != kInOrder ? how.tag : kTagRange + next(collectives_in_order_);
  }

  static int message_tag(const Transfer& how, int peer, std::vector<Count>& in_order) {
    return how.tag != kInOrder ? how.tag : 2 * kTagRange + next(in_order[static_cast<std::size_t>(peer)]);
  }

  Work submit(Schedule schedule, const Buffer& vector, const Transfer& how, int mpi_tag) {
    return engine_.submit(std::move(schedule), vector, how, mpi_tag, small(vector));
  }

  const EngineOptions options_;
  const std::vector<int> members_;
  const std::int64_t segment_bytes_;
  Engine engine_;
  Count collectives_in_order_ = 0;
  std::vector<Count> sends_in_order_, receives_in_order_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const MpiSession& session, const EngineOptions& options) {
  static_cast<void>(session);
  return std::make_unique<MpiCommunicator>(options, std::vector<int>{}, std::make_shared<Meter>());
}

}  // namespace lshdp::comm
