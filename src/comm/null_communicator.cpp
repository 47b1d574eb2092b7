// Operations that are done as soon as they may begin.
#include "lshdp/comm/null_communicator.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "lshdp/core/clock.h"
#include "validate.h"

namespace lshdp::comm {
namespace {

class NullWork : public Work::State {
 public:
  explicit NullWork(bool deferred) : deferred_(deferred), began_(deferred ? 0 : now_seconds()) {}
  void start() override {
    if (!deferred_) throw std::logic_error("Work::start() of an operation that was not deferred");
    double unset = 0;
    if (!began_.compare_exchange_strong(unset, now_seconds())) throw std::logic_error("Work::start() was called twice");
    for (const auto& call : std::exchange(calls_, {})) call();
  }
  void wait() override {
    if (!done()) throw std::logic_error("Work::wait() of a deferred operation that was not started");
  }
  bool done() const override { return began_ != 0; }
  void when_done(std::function<void()> call) override {
    if (done()) return call();
    calls_.push_back(std::move(call));
  }
  double began() const override { return began_; }
  double finished() const override { return began_; }

 private:
  const bool deferred_;
  std::atomic<double> began_;
  std::vector<std::function<void()>> calls_;
};

class NullCommunicator : public Communicator {
 public:
  NullCommunicator(int rank, int size) : rank_(rank), size_(size) { validate_group(rank, size); }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Work reduce_scatter_sum(Buffer vector, const Shards& shards, const Transfer& how) override {
    validate_sum(vector, shards, how, rank_, size_);
    return work(how);
  }
  Work all_gather(Buffer vector, const Shards& shards, const Transfer& how) override {
    validate_gather(vector, shards, how, size_);
    return work(how);
  }
  Work all_to_all(Buffer out, const Shards& out_shards, Buffer in, const Shards& in_shards,
                  const Transfer& how) override {
    validate_all_to_all(out, out_shards, in, in_shards, how, size_);
    return work(how);
  }
  Work all_reduce_sum(Buffer vector, const Transfer& how) override {
    validate_all_reduce(vector, how, rank_, size_);
    return work(how);
  }
  Work broadcast(Buffer vector, int root, const Transfer& how) override {
    validate_broadcast(vector, root, how, size_);
    return work(how);
  }
  Work send(Buffer vector, int to, const Transfer& how) override {
    validate_message(vector, to, how, rank_, size_);
    return work(how);
  }
  Work receive(Buffer vector, int from, const Transfer& how) override {
    validate_message(vector, from, how, rank_, size_);
    return work(how);
  }
  void barrier() override {}
  std::unique_ptr<Communicator> subgroup(const std::vector<int>& ranks) override {
    validate_members(ranks, rank_, size_);
    const auto mine = std::ranges::find(ranks, rank_) - ranks.begin();
    return std::make_unique<NullCommunicator>(static_cast<int>(mine), static_cast<int>(ranks.size()));
  }
  /// Nothing is ever under way.
  void abandon() override {}
  Counters counters() const override { return {}; }

 private:
  static Work work(const Transfer& how) { return Work(std::make_shared<NullWork>(how.deferred)); }

  const int rank_, size_;
};

}  // namespace

std::unique_ptr<Communicator> make_null_communicator(int rank, int size) {
  return std::make_unique<NullCommunicator>(rank, size);
}

}  // namespace lshdp::comm
