// The leader's two threads, and the receives they post.
#include "lsdp/node_exchange.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "layout/bucket_transfer.h"
#include "optimizer/update_thread.h"

namespace lshdp::parallel {
namespace {

std::int64_t sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

}  // namespace

NodeExchange::NodeExchange(NodeBuckets& buckets, std::unique_ptr<comm::Communicator> leaders,
                           std::vector<comm::Shards> shards, Trace* trace,
                           std::function<void(std::exception_ptr)> on_error)
    : buckets_(buckets),
      leaders_(std::move(leaders)),
      shards_(std::move(shards)),
      trace_(trace),
      on_error_(std::move(on_error)),
      scratch_(sum(region_sizes(shards_, type(), leaders_->rank()))),
      states_(buckets.size()),
      post_bucket_(buckets.size() - 1) {
  for (const std::int64_t bytes : region_sizes(shards_, type(), leaders_->rank()))
    regions_.push_back({scratch_.take(bytes, at::kByte), std::nullopt});
  starter_ = std::thread([this] { guarded(&NodeExchange::start_loop); });
  notifier_ = std::thread([this] { guarded(&NodeExchange::notify_loop); });
}

comm::DataType NodeExchange::type() const { return wire_type(buckets_.gradients(0).scalar_type()); }

std::vector<std::int64_t> NodeExchange::region_sizes(const std::vector<comm::Shards>& shards, comm::DataType type,
                                                     int leader) {
  std::vector<std::int64_t> sizes;
  for (std::size_t count = kMinRegions; sizes.empty() || (count <= shards.size() && sum(sizes) < kRoom); ++count) {
    sizes.assign(count, 0);
    for (std::size_t bucket = 0; bucket < shards.size(); ++bucket) {
      const auto bytes = static_cast<std::int64_t>(comm::scratch_bytes(shards[bucket], type, leader));
      std::int64_t& size = sizes[bucket % count];
      size = std::max(size, HostArena::bytes_of(bytes, at::kByte));
    }
  }
  return sizes;
}

void NodeExchange::begin_step(std::int64_t step) {
  const NodeBuckets::Lock lock = buckets_.lock();
  begun_step_ = step;
  buckets_.ring();
}

void NodeExchange::finish_reduce(std::size_t bucket, std::int64_t step) {
  NodeBuckets::Lock lock = buckets_.lock();
  const State& state = states_[bucket];
  buckets_.wait([&] { return state.step == step && state.stage == Stage::reducing; });
  comm::Work reduce = state.reduce;
  lock.unlock();
  reduce.wait();
  trace_transfer(trace_, "reduce-scatter", bucket, reduce);
  lock.lock();
  region_of(bucket).user.reset();
  buckets_.progress(bucket).reduced = step;
  buckets_.ring();
}

void NodeExchange::gather_now(std::size_t bucket) {
  leaders_->all_gather(buffer_of(buckets_.values(bucket)), shards_[bucket]).wait();
}

NodeExchange::~NodeExchange() {
  if (starter_.joinable()) stop();
}

void NodeExchange::stop() {
  {
    const NodeBuckets::Lock lock = buckets_.lock();
    stopping_ = true;
    buckets_.ring();
  }
  {
    const std::scoped_lock lock(mutex_);
    telling_ends_ = true;
  }
  changed_.notify_all();
  starter_.join();
  notifier_.join();
  // If that thread ended with an error, others may still be under way, which report here.
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return gathering_ == 0; });
}

void NodeExchange::guarded(void (NodeExchange::*loop)()) noexcept {
  try {
    (this->*loop)();
  } catch (...) {
    on_error_(std::current_exception());
  }
}

void NodeExchange::start_loop() {
  const NodeBuckets::Lock lock = buckets_.lock();
  while (buckets_.wait_or_end([this] { return stopping_ || advance(); })) {
    if (stopping_) return;
    buckets_.ring();
  }
}

/// Starts whatever can start; false if nothing could.
bool NodeExchange::advance() {
  bool moved = false;
  while (post_next()) moved = true;
  for (std::size_t bucket = 0; bucket < states_.size(); ++bucket) {
    const State& state = states_[bucket];
    const BucketProgress& progress = buckets_.progress(bucket);
    const std::int64_t all = state.step * buckets_.local_size();
    if (state.stage == Stage::posted && progress.contributions == all) {
      start_reduce(bucket);
      moved = true;
    }
    if (state.stage == Stage::reducing && progress.updates == all) {
      start_gather(bucket);
      moved = true;
    }
  }
  return moved;
}

bool NodeExchange::post_next() {
  State& state = states_[post_bucket_];
  Region& region = region_of(post_bucket_);
  if (begun_step_ < post_step_ || state.stage != Stage::idle || region.user) return false;
  const std::span scratch(static_cast<std::byte*>(region.memory.data_ptr()),
                          static_cast<std::size_t>(region.memory.numel()));
  state.reduce = leaders_->reduce_scatter_sum(buffer_of(buckets_.gradients(post_bucket_)), shards_[post_bucket_],
                                              {.tag = static_cast<int>(2 * post_bucket_),
                                               .priority = kReducePriority + static_cast<int>(post_bucket_),
                                               .deferred = true,
                                               .scratch = scratch});
  state.stage = Stage::posted;
  state.step = post_step_;
  region.user = post_bucket_;
  if (post_bucket_ == 0) ++post_step_;
  post_bucket_ = (post_bucket_ + states_.size() - 1) % states_.size();
  return true;
}

/// The node's gradients are complete: its sum may travel. The gather's receives are posted first: no node can gather
/// before it has this one's gradients, and no rank here reads the bucket's parameters any more in this step.
void NodeExchange::start_reduce(std::size_t bucket) {
  State& state = states_[bucket];
  state.gather = leaders_->all_gather(buffer_of(buckets_.values(bucket)), shards_[bucket],
                                      {.tag = static_cast<int>(2 * bucket + 1),
                                       .priority = kReducePriority + static_cast<int>(states_.size() + bucket),
                                       .deferred = true});
  state.stage = Stage::reducing;
  state.reduce.start();
}

void NodeExchange::start_gather(std::size_t bucket) {
  State& state = states_[bucket];
  state.stage = Stage::gathering;
  {
    const std::scoped_lock lock(mutex_);
    ++gathering_;
  }
  state.gather.when_done([this, bucket] {
    const std::scoped_lock lock(mutex_);
    --gathering_;
    gathered_.push_back(bucket);
    changed_.notify_all();
  });
  state.gather.start();
}

void NodeExchange::notify_loop() {
  while (const auto bucket = next_gathered()) {
    const NodeBuckets::Lock lock = buckets_.lock();
    states_[*bucket].gather.wait();  // it is done, or has failed
    trace_transfer(trace_, "all-gather", *bucket, states_[*bucket].gather);
    states_[*bucket].stage = Stage::idle;
    ++buckets_.progress(*bucket).version;
    buckets_.ring();
  }
}

/// A bucket that has been gathered, as soon as it is, or none at the end.
std::optional<std::size_t> NodeExchange::next_gathered() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !gathered_.empty() || (telling_ends_ && gathering_ == 0); });
  if (gathered_.empty()) return std::nullopt;
  const std::size_t bucket = gathered_.front();
  gathered_.pop_front();
  return bucket;
}

}  // namespace lshdp::parallel
