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

void validate_sizes(const SendSizes& sizes) {
  if (sizes.sends_in_flight < 1 || sizes.segment_bytes < 1 || sizes.segment_bytes > (1 << 30))
    throw std::invalid_argument(fmt::format("segments of {} bytes, {} in flight, are out of range", sizes.segment_bytes,
                                            sizes.sends_in_flight));
}

EngineOptions checked(const EngineOptions& options) {
  validate_sizes({options.segment_bytes, options.sends_in_flight});
  if (!(options.max_sleep_seconds > 0 && options.beat_seconds > 0 && options.standstill_seconds > 0 &&
        options.operation_limit_seconds >= 0))
    throw std::invalid_argument("engine options out of range");
  require_tags();
  return options;
}

class MpiCommunicator : public Communicator {
 public:
  /// `members`: ranks of MPI_COMM_WORLD; empty: all of it.
  MpiCommunicator(const EngineOptions& options, const std::vector<int>& members, std::shared_ptr<Meter> meter,
                  std::shared_ptr<EngineGroup> group)
      : options_(options),
        members_(members),
        segment_bytes_(options.segment_bytes),
        engine_(checked(options), members, std::move(meter), std::move(group)),
        sends_in_order_(static_cast<std::size_t>(size())),
        receives_in_order_(static_cast<std::size_t>(size())) {}

  int rank() const override { return engine_.rank(); }
  int size() const override { return engine_.size(); }

  Work reduce_scatter_sum(Buffer vector, const Shards& shards, const Transfer& how) override {
    validate_sum(vector, shards, how, rank(), size());
    return submit("reduce-scatter", exchange_reduce_scatter(shards, rank(), segment(vector, how)), vector, how,
                  collective_tag(how));
  }

  Work all_gather(Buffer vector, const Shards& shards, const Transfer& how) override {
    validate_gather(vector, shards, how, size());
    return submit("all-gather", exchange_all_gather(shards, rank(), segment(vector, how)), vector, how,
                  collective_tag(how));
  }

  Work all_to_all(Buffer out, const Shards& out_shards, Buffer in, const Shards& in_shards,
                  const Transfer& how) override {
    validate_all_to_all(out, out_shards, in, in_shards, how, size());
    Transfer arriving = how;
    arriving.scratch = {static_cast<std::byte*>(in.data), static_cast<std::size_t>(in.count) * size_of(in.type)};
    // Ranks whose buffers differ in length would not agree on what is small.
    return engine_.submit("all-to-all", exchange_all_to_all(out_shards, in_shards, rank(), segment(out, how)), out,
                          arriving, collective_tag(how), false);
  }

  Work all_reduce_sum(Buffer vector, const Transfer& how) override {
    validate_all_reduce(vector, how, rank(), size());
    auto schedule = small(vector)
                        ? direct_all_reduce(vector.count, rank(), size())
                        : ring_all_reduce(all_reduce_shards(vector.count, size()), rank(), segment(vector, how));
    return submit("all-reduce", std::move(schedule), vector, how, collective_tag(how));
  }

  Work broadcast(Buffer vector, int root, const Transfer& how) override {
    validate_broadcast(vector, root, how, size());
    auto schedule = small(vector) ? direct_broadcast(vector.count, root, rank(), size())
                                  : chain_broadcast(vector.count, root, rank(), size(), segment(vector, how));
    return submit("broadcast", std::move(schedule), vector, how, collective_tag(how));
  }

  Work send(Buffer vector, int to, const Transfer& how) override {
    validate_message(vector, to, how, rank(), size());
    return submit("send", message_to(to, vector.count, segment(vector, how)), vector, how,
                  message_tag(how, to, sends_in_order_));
  }

  Work receive(Buffer vector, int from, const Transfer& how) override {
    validate_message(vector, from, how, rank(), size());
    return submit("receive", message_from(from, vector.count, segment(vector, how)), vector, how,
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
    const EngineOptions options{.sends_in_flight = engine_.sends_in_flight(),
                                .segment_bytes = segment_bytes_,
                                .max_sleep_seconds = options_.max_sleep_seconds,
                                .beat_seconds = options_.beat_seconds,
                                .standstill_seconds = options_.standstill_seconds,
                                .operation_limit_seconds = options_.operation_limit_seconds};
    return std::make_unique<MpiCommunicator>(options, members, engine_.meter(), engine_.group());
  }

  void set_send_sizes(const SendSizes& sizes) override {
    const Wanted mine{sizes.segment_bytes, sizes.sends_in_flight, engine_.idle() ? 1 : 0};
    // By the sizes so far: a rank can go on only when all have come here, so none is ahead with new ones.
    const std::vector<Wanted> all = wanted_by_all(mine);
    if (std::ranges::any_of(all, [](const Wanted& other) { return other.idle == 0; }))
      throw std::logic_error("sizes in flight cannot change while an operation is under way");
    if (std::ranges::any_of(all, [&](const Wanted& other) { return !other.same_sizes(mine); }))
      throw std::invalid_argument("ranks disagree about the sizes in flight");
    validate_sizes(sizes);
    segment_bytes_ = sizes.segment_bytes;
    engine_.set_sends_in_flight(sizes.sends_in_flight);
  }

  SendSizes send_sizes() const override { return {segment_bytes_, engine_.sends_in_flight()}; }

  void abandon() override { engine_.abandon(); }

  Counters counters() const override { return engine_.counters(); }

 private:
  using Count = std::atomic<std::uint32_t>;

  /// What a rank says before sizes change.
  struct Wanted {
    std::int64_t segment_bytes = 0, sends_in_flight = 0, idle = 0;
    bool same_sizes(const Wanted& other) const {
      return segment_bytes == other.segment_bytes && sends_in_flight == other.sends_in_flight;
    }
  };

  std::vector<Wanted> wanted_by_all(const Wanted& mine) {
    std::vector<Wanted> all(static_cast<std::size_t>(size()));
    all[static_cast<std::size_t>(rank())] = mine;
    const auto bytes = static_cast<std::int64_t>(all.size() * sizeof(Wanted));
    all_gather({all.data(), bytes, DataType::byte}, equal_shards(bytes, size(), sizeof(Wanted)), {}).wait();
    return all;
  }

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

  Work submit(const char* kind, Schedule schedule, const Buffer& vector, const Transfer& how, int mpi_tag) {
    return engine_.submit(kind, std::move(schedule), vector, how, mpi_tag, small(vector));
  }

  const EngineOptions options_;
  const std::vector<int> members_;
  std::atomic<std::int64_t> segment_bytes_;
  Engine engine_;
  Count collectives_in_order_ = 0;
  std::vector<Count> sends_in_order_, receives_in_order_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const MpiSession& session, const EngineOptions& options) {
  static_cast<void>(session);
  return std::make_unique<MpiCommunicator>(options, std::vector<int>{}, std::make_shared<Meter>(),
                                           std::make_shared<EngineGroup>());
}

}  // namespace lshdp::comm
