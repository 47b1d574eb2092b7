// Sums and gathers of device memory in two levels, finished on a thread in the order in which they were started.
#include "lshdp/comm/device_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "lshdp/comm/node.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/host_pages.h"
#include "lshdp/core/work_queue.h"
#include "validate.h"

namespace lshdp::comm {
namespace {

/// One operation. Its two halves are given by those who know: what begins it, and what is left when it has begun.
class DeviceWork final : public Work::State, public std::enable_shared_from_this<DeviceWork> {
 public:
  using Finish = std::function<void()>;
  /// `begin` runs on the thread that starts the operation, and gives what is to run on `lane`. `order`: held meanwhile,
  /// so that the lane has operations in the order in which they began.
  DeviceWork(std::function<Finish()> begin, WorkQueue& lane, std::mutex& order, bool deferred)
      : begin_(std::move(begin)), lane_(lane), order_(order), deferred_(deferred) {}

  void start() override {
    if (!deferred_) throw std::logic_error("Work::start() of an operation that was not deferred");
    run();
  }
  /// From here on the lane keeps the operation alive.
  void run() {
    {
      const std::scoped_lock lock(mutex_);
      if (began_ > 0) throw std::logic_error("Work::start() was called twice");
      began_ = now_seconds();
    }
    const std::scoped_lock in_turn(order_);
    lane_.post([self = shared_from_this(), finish = begin_()] { self->finish(finish); });
  }
  void wait() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return finished_ > 0; });
    if (error_) std::rethrow_exception(error_);
  }
  bool done() const override {
    const std::scoped_lock lock(mutex_);
    return finished_ > 0;
  }
  void when_done(std::function<void()> call) override {
    std::unique_lock lock(mutex_);
    if (finished_ == 0) {
      calls_.push_back(std::move(call));
      return;
    }
    lock.unlock();
    call();
  }
  double began() const override {
    const std::scoped_lock lock(mutex_);
    return began_;
  }
  double finished() const override {
    const std::scoped_lock lock(mutex_);
    return finished_;
  }

 private:
  void finish(const Finish& rest) {
    std::exception_ptr error;
    try {
      rest();
    } catch (...) {
      error = std::current_exception();
    }
    std::vector<std::function<void()>> calls;
    {
      const std::scoped_lock lock(mutex_);
      error_ = error;
      finished_ = now_seconds();
      calls.swap(calls_);
    }
    changed_.notify_all();
    for (const auto& call : calls) call();
  }

  const std::function<Finish()> begin_;
  WorkQueue& lane_;  // where operations are finished, one after the other
  std::mutex& order_;
  const bool deferred_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  double began_ = 0, finished_ = 0;
  std::exception_ptr error_;
  std::vector<std::function<void()>> calls_;
};

/// Memory of the host by tag, so that each step uses that of the step before.
class Staging {
 public:
  explicit Staging(ComputeDevice& device) : device_(device) {}
  std::byte* of(int tag, std::int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    Place& place = places_[tag];
    if (place.bytes != bytes) {
      place = {};
      place = {map_host_pages(bytes, device_), bytes};
    }
    return place.memory.get();
  }

 private:
  struct Place {
    std::shared_ptr<std::byte> memory;
    std::int64_t bytes = 0;
  };
  ComputeDevice& device_;
  std::mutex mutex_;
  std::map<int, Place> places_;
};

class DeviceCommunicator final : public Communicator {
 public:
  DeviceCommunicator(Communicator& host, const std::vector<std::string>& names, std::unique_ptr<DeviceGroup> group,
                     ComputeDevice& device)
      : host_(host),
        device_(device),
        map_(map_nodes(names)),
        group_(std::move(group)),
        staging_(device),
        lane_([&device] { return device.help(); }) {
    refuse_unequal_groups(names);
    if (map_.nodes.size() > 1) column_ = host.subgroup(column());
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  bool moves_device_memory() const override { return true; }

  Work reduce_scatter_sum(Buffer vector, const Shards& shards, const Transfer& how) override {
    if (!device_.holds(vector.data)) return host_.reduce_scatter_sum(vector, shards, how);
    refuse_rounding(how);
    Transfer without_scratch = how;
    without_scratch.scratch = {};
    validate_sum(vector, shards, without_scratch, rank(), size());
    return work([=, this] { return begin_sum(vector, shards, how); }, how);
  }

  Work all_gather(Buffer vector, const Shards& shards, const Transfer& how) override {
    if (!device_.holds(vector.data)) return host_.all_gather(vector, shards, how);
    refuse_rounding(how);
    validate_gather(vector, shards, how, size());
    return work([=, this] { return begin_gather(vector, shards, how); }, how);
  }

  Work all_reduce_sum(Buffer vector, const Transfer& how) override { return host_.all_reduce_sum(vector, how); }
  Work all_to_all(Buffer out, const Shards& out_shards, Buffer in, const Shards& in_shards,
                  const Transfer& how) override {
    return host_.all_to_all(out, out_shards, in, in_shards, how);
  }
  Work broadcast(Buffer vector, int root, const Transfer& how) override { return host_.broadcast(vector, root, how); }
  Work send(Buffer vector, int to, const Transfer& how) override { return host_.send(vector, to, how); }
  Work receive(Buffer vector, int from, const Transfer& how) override { return host_.receive(vector, from, how); }
  void barrier() override { host_.barrier(); }
  std::unique_ptr<Communicator> subgroup(const std::vector<int>& ranks) override { return host_.subgroup(ranks); }
  /// What goes by way of the host; between groups that is the column's, which is idle when all operations are done.
  void set_send_sizes(const SendSizes& sizes) override {
    host_.set_send_sizes(sizes);
    if (column_) column_->set_send_sizes(sizes);
  }
  SendSizes send_sizes() const override { return host_.send_sizes(); }
  void abandon() override {
    host_.abandon();
    if (column_) column_->abandon();
    group_->abandon();
  }
  Counters counters() const override { return host_.counters(); }

 private:
  static void refuse_rounding(const Transfer& how) {
    if (how.wire != Wire::exact) throw std::invalid_argument("vectors of a device travel exactly");
  }

  static std::function<void()> starter(const Work& work) {
    return [held = work]() mutable { held.start(); };
  }

  /// The ranks of this one's place in every group.
  std::vector<int> column() const {
    std::vector<int> ranks;
    for (const auto& group : map_.nodes) ranks.push_back(group[static_cast<std::size_t>(map_.local_rank(rank()))]);
    std::ranges::sort(ranks);
    return ranks;
  }

  Work work(std::function<DeviceWork::Finish()> begin, const Transfer& how) {
    auto work = std::make_shared<DeviceWork>(std::move(begin), lane_, order_, how.deferred);
    if (!how.deferred) work->run();
    return Work(std::move(work));
  }

  /// Each rank's shard, at the rank of this group that has its place.
  std::vector<Piece> pieces(const Shards& shards) const {
    std::vector<Piece> pieces;
    for (int other = 0; other < size(); ++other)
      pieces.push_back({shards.begin(other), shards.count(other), map_.local_rank(other)});
    return pieces;
  }

  /// The shards of the column's ranks, one behind the other.
  Shards column_shards(const Shards& shards) const {
    Shards result{{0}};
    for (const int other : column()) result.bounds.push_back(result.bounds.back() + shards.count(other));
    return result;
  }

  /// One of the column's shards: in the vector, in the memory that is staged, and its bytes.
  struct Part {
    int rank;
    std::byte *there, *staged;
    std::int64_t bytes;
  };
  std::vector<Part> parts(const Buffer& vector, const Shards& shards, std::byte* staged) const {
    const auto element = static_cast<std::int64_t>(size_of(vector.type));
    std::vector<Part> parts;
    for (const int other : column()) {
      const std::int64_t bytes = shards.count(other) * element;
      parts.push_back({other, static_cast<std::byte*>(vector.data) + shards.begin(other) * element, staged, bytes});
      staged += bytes;
    }
    return parts;
  }
  std::byte* stage(const Buffer& vector, const Shards& there, const Transfer& how) {
    return staging_.of(how.tag, there.bounds.back() * static_cast<std::int64_t>(size_of(vector.type)));
  }

  // With one group its work begins at once. With several, some of it follows what comes from other hosts: then all of
  // it begins on the lane, or its order would differ between ranks.
  DeviceWork::Finish begin_sum(const Buffer& vector, const Shards& shards, const Transfer& how) {
    const Event ready = device_.record_event();
    if (!column_) {
      const Event summed = group_->reduce(vector, pieces(shards), ready);
      return [summed] { summed.wait(); };
    }
    return [=, this] { sum_between_groups(vector, shards, how, ready); };
  }

  void sum_between_groups(const Buffer& vector, const Shards& shards, const Transfer& how, const Event& ready) {
    const Shards there = column_shards(shards);
    std::byte* staged = stage(vector, there, how);
    const std::vector<Part> of_column = parts(vector, shards, staged);
    Work exchange = column_->reduce_scatter_sum({staged, there.bounds.back(), vector.type}, there,
                                                {.tag = how.tag, .priority = how.priority, .deferred = true});
    const Event summed = group_->reduce(vector, pieces(shards), ready);
    for (const Part& part : of_column) {
      const bool last = part.rank == of_column.back().rank;
      device_.copy_out(part.staged, part.there, part.bytes, summed, last ? starter(exchange) : nullptr);
    }
    exchange.wait();
    for (const Part& part : of_column) {
      if (part.rank == rank()) device_.copy_in(part.there, part.staged, part.bytes, {}).wait();
    }
  }

  DeviceWork::Finish begin_gather(const Buffer& vector, const Shards& shards, const Transfer& how) {
    const Event ready = device_.record_event();
    if (!column_) {
      const Event there = group_->broadcast(vector, pieces(shards), ready);
      return [there] { there.wait(); };
    }
    return [=, this] { gather_between_groups(vector, shards, how, ready); };
  }

  void gather_between_groups(const Buffer& vector, const Shards& shards, const Transfer& how, const Event& ready) {
    const Shards there = column_shards(shards);
    std::byte* staged = stage(vector, there, how);
    const std::vector<Part> of_column = parts(vector, shards, staged);
    Work exchange = column_->all_gather({staged, there.bounds.back(), vector.type}, there,
                                        {.tag = how.tag, .priority = how.priority, .deferred = true});
    for (const Part& part : of_column) {
      if (part.rank == rank()) device_.copy_out(part.staged, part.there, part.bytes, ready, starter(exchange));
    }
    exchange.wait();
    Event in;
    for (const Part& part : of_column) in = device_.copy_in(part.there, part.staged, part.bytes, {});
    group_->broadcast(vector, pieces(shards), in).wait();
  }

  Communicator& host_;
  ComputeDevice& device_;
  NodeMap map_;
  std::unique_ptr<DeviceGroup> group_;
  std::unique_ptr<Communicator> column_;  // none with one group
  Staging staging_;
  std::mutex order_;  // held while an operation begins
  WorkQueue lane_;    // last: it ends before what it uses
};

}  // namespace

std::unique_ptr<Communicator> make_device_communicator(Communicator& host, const std::vector<std::string>& names,
                                                       std::unique_ptr<DeviceGroup> group, ComputeDevice& device) {
  return std::make_unique<DeviceCommunicator>(host, names, std::move(group), device);
}

void refuse_unequal_groups(const std::vector<std::string>& names) {
  const NodeMap map = map_nodes(names);
  for (const auto& group : map.nodes) {
    if (group.size() == map.nodes.front().size()) continue;
    throw UsageError(
        fmt::format("--comm: hierarchical needs as many ranks on every host, but {} has {} and {} has {}; use mpi",
                    names[static_cast<std::size_t>(map.nodes.front().front())], map.nodes.front().size(),
                    names[static_cast<std::size_t>(group.front())], group.size()));
  }
}

}  // namespace lshdp::comm
