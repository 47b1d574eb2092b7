// The replicated store: gradients reduce-scattered per bucket, shards updated on a thread, parameters gathered behind
// forward.
#include "lshdp/parallel/replicated_store.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "lshdp/core/clock.h"
#include "lshdp/parallel/arena.h"
#include "lshdp/parallel/sharded_adamw.h"

namespace lshdp::parallel {
namespace {

// Sums go before gathers, and gathers in the order in which the next forward needs them (DESIGN.md section 5).
constexpr int kNormPriority = 0;
constexpr int kReducePriority = 1;
constexpr int kGatherPriority = 2;

struct BucketState {
  Bucket layout;
  comm::Shards shards;
  at::Tensor values;                // [count], compute type
  at::Tensor gradients;             // [count], master type; padding is always zero
  at::Tensor scratch;               // bytes that reduce-scatter receives into
  ShardState shard;                 // this rank's part: master, moments
  std::vector<bool> touched;        // by slot: this step has written its gradient
  std::size_t blocks_left = 0;      // without their last gradient of this step
  bool prepared = false;            // this step's receives are posted
  bool traced_gather = true;        // the last gather is in the trace
  std::int64_t delivered_step = 0;  // last step whose gradients are complete here
  std::int64_t updated_step = 0;    // last step whose shard is updated and whose gather was started
  comm::Work reduce, gather;
};

struct SlotPlace {
  std::size_t bucket = 0, slot = 0;
};

class ReplicatedStore final : public ParameterStore {
 public:
  ReplicatedStore(const model::Model& model, comm::Communicator& communicator, const ReplicatedStoreOptions& options,
                  Trace* trace);
  ~ReplicatedStore() override;

  void begin_step(const Update& update) override;
  void acquire(std::size_t block) override;
  std::span<const at::Tensor> parameters(std::size_t block) const override { return parameters_[block]; }
  void release(std::size_t) override {}
  void add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) override;
  void synchronize() override;
  double local_squared_norm(std::int64_t step) const override;
  double wait_seconds() const override { return wait_seconds_; }
  double update_seconds() const override;
  void set_values(const model::Values& values) override;
  model::Values gather_values() override;
  std::vector<StatePiece> owned_state() override;
  void publish() override;

 private:
  struct Delivery {
    std::size_t bucket = 0;
    std::int64_t step = 0;
    Update update;
  };

  void allocate(BucketState& bucket);
  static void finish_gather(BucketState& bucket) noexcept;
  void make_leaves();
  at::Tensor slot_of(const at::Tensor& arena, const SlotPlace& place) const;
  comm::Buffer whole(const at::Tensor& arena) const;
  void wait_for_bucket(std::size_t index);
  void prepare(std::size_t index);
  void accumulate(const SlotPlace& place, const at::Tensor& gradient);
  void deliver(std::size_t index);
  void rethrow_error();

  // On the update thread.
  void update_loop();
  std::optional<Delivery> next_delivery();
  void handle(const Delivery& delivery);
  void finish_reduce(std::size_t index, const Update& update);
  void apply(std::size_t index, const Delivery& delivery, double scale);
  void clip_and_apply(const Delivery& delivery);
  void trace(const char* what, std::size_t index, const comm::Work& work);

  const model::Model& model_;
  comm::Communicator& communicator_;
  ReplicatedStoreOptions options_;
  Trace* trace_;
  std::vector<BucketState> buckets_;
  std::vector<std::size_t> bucket_of_block_;
  std::vector<std::vector<SlotPlace>> places_;       // by block: of its parameters, then of those it borrows
  std::vector<std::vector<at::Tensor>> parameters_;  // by block: the same, as leaves
  Update update_;
  std::int64_t step_ = 0;
  bool in_step_ = false;
  std::size_t buckets_left_ = 0;
  double wait_seconds_ = 0;

  mutable std::mutex mutex_;  // guards what follows, BucketState::updated_step and BucketState::gather
  std::condition_variable changed_;
  std::deque<Delivery> deliveries_;
  std::exception_ptr error_;
  bool stopping_ = false;
  double squared_norm_ = 0;                                      // of the step under way
  std::array<std::pair<std::int64_t, double>, 2> done_norms_{};  // Update::step and squared norm of the last two done
  double update_seconds_ = 0;
  std::thread thread_;
};

std::vector<SlotPlace> places_of(const std::vector<BucketState>& buckets,
                                 const std::vector<std::size_t>& bucket_of_block, std::size_t block,
                                 std::size_t parameters) {
  std::vector<SlotPlace> places(parameters);
  const std::size_t index = bucket_of_block[block];
  const auto& slots = buckets[index].layout.slots;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].block == block) places[slots[i].parameter] = {index, i};
  }
  return places;
}

ReplicatedStore::ReplicatedStore(const model::Model& model, comm::Communicator& communicator,
                                 const ReplicatedStoreOptions& options, Trace* trace)
    : model_(model), communicator_(communicator), options_(options), trace_(trace) {
  const auto element = static_cast<std::int64_t>(at::elementSize(master_type(options.precision)));
  bucket_of_block_.resize(model.blocks.size());
  for (Bucket& layout : make_buckets(model, options.bucket_bytes / element)) {
    for (std::size_t block = layout.first_block; block <= layout.last_block; ++block)
      bucket_of_block_[block] = buckets_.size();
    buckets_.emplace_back().layout = std::move(layout);
    allocate(buckets_.back());
  }
  make_leaves();
  thread_ = std::thread([this] { update_loop(); });
}

ReplicatedStore::~ReplicatedStore() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    // A step that was left half way (an error) would never end: the other ranks may be gone. (Not: a delivery is still
    // in the list. The update thread takes it off after it has told that the step is updated.)
    const bool updated = std::ranges::all_of(
        buckets_, [](const BucketState& bucket) { return bucket.updated_step == bucket.delivered_step; });
    if (in_step_ || !updated) communicator_.abandon();
  }
  changed_.notify_all();
  thread_.join();
  for (BucketState& bucket : buckets_) finish_gather(bucket);
}

/// The arenas may go. Nobody is left to hear of a failure.
void ReplicatedStore::finish_gather(BucketState& bucket) noexcept {
  try {
    bucket.gather.wait();
  } catch (const std::exception&) {
  }
}

void ReplicatedStore::allocate(BucketState& bucket) {
  const at::ScalarType master = master_type(options_.precision), compute = compute_type(options_.precision);
  const std::int64_t count = bucket.layout.count;
  const int rank = communicator_.rank();
  bucket.shards = comm::equal_shards(count, communicator_.size(), kAlignment);
  bucket.values = at::zeros({count}, compute);
  bucket.gradients = at::zeros({count}, master);
  bucket.scratch =
      at::empty({static_cast<std::int64_t>(comm::scratch_bytes(bucket.shards, wire_type(master), rank))}, at::kByte);
  bucket.shard = make_shard_state(bucket.values, master, bucket.shards.begin(rank), bucket.shards.end(rank));
  bucket.touched.resize(bucket.layout.slots.size());
}

void ReplicatedStore::make_leaves() {
  places_.resize(model_.blocks.size());
  parameters_.resize(model_.blocks.size());
  for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
    places_[block] = places_of(buckets_, bucket_of_block_, block, model_.blocks[block]->parameters().size());
    for (const model::Borrowed& borrowed : model_.blocks[block]->borrowed()) {
      if (borrowed.block >= block) throw std::logic_error("a block borrows from a later one");
      places_[block].push_back(places_[borrowed.block][borrowed.parameter]);
    }
    for (const SlotPlace& place : places_[block]) {
      // Not a view of the arena for autograd: updates and gathers write to it between steps, which is none of its
      // business.
      const at::Tensor view = slot_of(buckets_[place.bucket].values, place);
      parameters_[block].push_back(at::from_blob(view.data_ptr(), view.sizes(), view.options()).requires_grad_(true));
    }
  }
}

/// The part of an arena that belongs to a parameter, in its shape.
at::Tensor ReplicatedStore::slot_of(const at::Tensor& arena, const SlotPlace& place) const {
  const Slot& slot = buckets_[place.bucket].layout.slots[place.slot];
  return arena.narrow(0, slot.offset, slot.count).view(model_.blocks[slot.block]->parameters()[slot.parameter].shape);
}

comm::Buffer ReplicatedStore::whole(const at::Tensor& arena) const {
  return {arena.data_ptr(), arena.numel(), wire_type(arena.scalar_type())};
}

void ReplicatedStore::begin_step(const Update& update) {
  if (in_step_) throw std::logic_error("begin_step before the last gradients of the step before");
  rethrow_error();
  update_ = update;
  ++step_;
  in_step_ = true;
  buckets_left_ = buckets_.size();
  for (BucketState& bucket : buckets_) {
    bucket.touched.assign(bucket.touched.size(), false);
    bucket.blocks_left = bucket.layout.last_block - bucket.layout.first_block + 1;
    bucket.prepared = false;
  }
}

void ReplicatedStore::acquire(std::size_t block) {
  const auto use = [this](std::size_t index) {
    wait_for_bucket(index);
    if (in_step_ && !buckets_[index].prepared) prepare(index);
  };
  use(bucket_of_block_[block]);
  for (const model::Borrowed& borrowed : model_.blocks[block]->borrowed()) use(bucket_of_block_[borrowed.block]);
}

void ReplicatedStore::wait_for_bucket(std::size_t index) {
  const double begun = now_seconds();
  comm::Work gather;
  {
    std::unique_lock lock(mutex_);
    const BucketState& bucket = buckets_[index];
    changed_.wait(lock, [&] { return error_ != nullptr || bucket.updated_step == bucket.delivered_step; });
    gather = bucket.gather;
  }
  rethrow_error();
  gather.wait();
  wait_seconds_ += now_seconds() - begun;
  if (std::exchange(buckets_[index].traced_gather, true)) return;
  trace("all-gather", index, gather);
}

/// Posts the receives of the bucket's sum. The step before is done with its arenas here, because acquire() has waited
/// for it.
void ReplicatedStore::prepare(std::size_t index) {
  BucketState& bucket = buckets_[index];
  const std::span scratch(static_cast<std::byte*>(bucket.scratch.data_ptr()),
                          static_cast<std::size_t>(bucket.scratch.numel()));
  bucket.reduce = communicator_.reduce_scatter_sum(
      whole(bucket.gradients), bucket.shards,
      {.tag = static_cast<int>(2 * index), .priority = kReducePriority, .deferred = true, .scratch = scratch});
  bucket.prepared = true;
}

void ReplicatedStore::add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) {
  if (!in_step_ || !buckets_[bucket_of_block_[block]].prepared) throw std::logic_error("add_gradient before acquire");
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < gradients.size(); ++i) accumulate(places_[block][i], gradients[i]);
  if (!last) return;
  BucketState& bucket = buckets_[bucket_of_block_[block]];
  if (--bucket.blocks_left == 0) deliver(bucket_of_block_[block]);
}

void ReplicatedStore::accumulate(const SlotPlace& place, const at::Tensor& gradient) {
  BucketState& bucket = buckets_[place.bucket];
  const at::Tensor sum = slot_of(bucket.gradients, place);
  if (bucket.touched[place.slot])
    sum.add_(gradient);
  else
    sum.copy_(gradient);
  bucket.touched[place.slot] = true;
}

/// The bucket's gradients are complete on this rank: its sum may travel. The gather's receives are posted first: no
/// peer can gather before it has this rank's gradients, and nothing here reads the bucket's parameters any more in this
/// step.
void ReplicatedStore::deliver(std::size_t index) {
  BucketState& bucket = buckets_[index];
  for (std::size_t i = 0; i < bucket.touched.size(); ++i) {
    if (!bucket.touched[i]) slot_of(bucket.gradients, {index, i}).zero_();
  }
  comm::Work gather = communicator_.all_gather(whole(bucket.values), bucket.shards,
                                               {.tag = static_cast<int>(2 * index + 1),
                                                .priority = kGatherPriority + static_cast<int>(index),
                                                .deferred = true});
  bucket.reduce.start();
  bucket.traced_gather = false;
  {
    const std::scoped_lock lock(mutex_);
    bucket.gather = std::move(gather);
    bucket.delivered_step = step_;
    deliveries_.push_back({index, step_, update_});
  }
  changed_.notify_all();
  if (--buckets_left_ == 0) in_step_ = false;
}

void ReplicatedStore::rethrow_error() {
  const std::scoped_lock lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

void ReplicatedStore::update_loop() {
  const c10::NoGradGuard no_grad;
  try {
    while (const auto delivery = next_delivery()) handle(*delivery);
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

std::optional<ReplicatedStore::Delivery> ReplicatedStore::next_delivery() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || !deliveries_.empty(); });
  if (deliveries_.empty()) return std::nullopt;
  return deliveries_.front();
}

void ReplicatedStore::handle(const Delivery& delivery) {
  finish_reduce(delivery.bucket, delivery.update);
  if (delivery.update.clip_norm == 0) {
    apply(delivery.bucket, delivery, 1);
  } else if (delivery.bucket == 0) {
    clip_and_apply(delivery);
  }
  const std::scoped_lock lock(mutex_);
  deliveries_.pop_front();
}

/// Waits for the bucket's sum and makes this rank's shard the mean.
void ReplicatedStore::finish_reduce(std::size_t index, const Update& update) {
  BucketState& bucket = buckets_[index];
  bucket.reduce.wait();
  trace("reduce-scatter", index, bucket.reduce);
  const double begun = now_seconds();
  const at::Tensor mean = shard_of(bucket.gradients, bucket.shard).mul_(1.0 / static_cast<double>(update.global_terms));
  const double norm = mean.numel() == 0 ? 0 : at::linalg_vector_norm(mean, 2).item<double>();
  const std::scoped_lock lock(mutex_);
  squared_norm_ += norm * norm;
  update_seconds_ += now_seconds() - begun;
  // The first bucket's gradients come last. Whoever sees its update sees the norm.
  if (index == 0) done_norms_ = {done_norms_[1], {update.step, std::exchange(squared_norm_, 0)}};
}

/// Updates this rank's shard with `scale` times the mean gradient and lets its parameters travel.
void ReplicatedStore::apply(std::size_t index, const Delivery& delivery, double scale) {
  BucketState& bucket = buckets_[index];
  const double begun = now_seconds();
  const at::Tensor gradient = shard_of(bucket.gradients, bucket.shard);
  if (scale != 1) gradient.mul_(scale);
  update_shard(bucket.shard, gradient, bucket.layout.decay_count, options_.adamw, delivery.update);
  copy_master_to(bucket.values, bucket.shard);
  const double ended = now_seconds();
  if (trace_ != nullptr && trace_->enabled()) trace_->record(fmt::format("update {}", index), "update", begun, ended);
  comm::Work gather;
  {
    const std::scoped_lock lock(mutex_);
    update_seconds_ += ended - begun;
    gather = bucket.gather;
  }
  gather.start();
  const std::scoped_lock lock(mutex_);
  bucket.updated_step = delivery.step;
  changed_.notify_all();
}

void ReplicatedStore::clip_and_apply(const Delivery& delivery) {
  double squared = 0;
  {
    const std::scoped_lock lock(mutex_);
    squared = done_norms_[1].second;
  }
  communicator_
      .all_reduce_sum({&squared, 1, comm::DataType::float64},
                      {.tag = static_cast<int>(2 * buckets_.size()), .priority = kNormPriority})
      .wait();
  const double norm = std::sqrt(squared);
  // As torch.nn.utils.clip_grad_norm_ computes it.
  const double scale = std::min(1.0, delivery.update.clip_norm / (norm + 1e-6));
  for (std::size_t index = 0; index < buckets_.size(); ++index) apply(index, delivery, scale);
}

void ReplicatedStore::trace(const char* what, std::size_t index, const comm::Work& work) {
  if (trace_ == nullptr || !trace_->enabled()) return;
  trace_->record(fmt::format("{} {}", what, index), what, work.began(), work.finished());
}

void ReplicatedStore::synchronize() {
  if (in_step_) throw std::logic_error("synchronize within a step");
  for (std::size_t index = 0; index < buckets_.size(); ++index) wait_for_bucket(index);
}

double ReplicatedStore::local_squared_norm(std::int64_t step) const {
  const std::scoped_lock lock(mutex_);
  for (const auto& [done, norm] : done_norms_) {
    if (done == step) return norm;
  }
  throw std::logic_error("the norm of a step that is not one of the last two done");
}

double ReplicatedStore::update_seconds() const {
  const std::scoped_lock lock(mutex_);
  return update_seconds_;
}

void ReplicatedStore::set_values(const model::Values& values) {
  const c10::NoGradGuard no_grad;
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    BucketState& bucket = buckets_[index];
    at::Tensor arena = at::zeros({bucket.layout.count}, master_type(options_.precision));
    for (std::size_t i = 0; i < bucket.layout.slots.size(); ++i) {
      const Slot& slot = bucket.layout.slots[i];
      slot_of(arena, {index, i}).copy_(values[slot.block][slot.parameter]);
    }
    bucket.values.copy_(arena);
    reset_shard(bucket.shard, arena);
  }
}

model::Values ReplicatedStore::gather_values() {
  const c10::NoGradGuard no_grad;
  model::Values values(model_.blocks.size());
  for (std::size_t block = 0; block < values.size(); ++block)
    values[block].resize(model_.blocks[block]->parameters().size());
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    BucketState& bucket = buckets_[index];
    at::Tensor arena = at::zeros({bucket.layout.count}, master_type(options_.precision));
    copy_master_to(arena, bucket.shard);
    communicator_.all_gather(whole(arena), bucket.shards).wait();
    for (std::size_t i = 0; i < bucket.layout.slots.size(); ++i) {
      const Slot& slot = bucket.layout.slots[i];
      values[slot.block][slot.parameter] = slot_of(arena, {index, i}).clone();
    }
  }
  return values;
}

std::vector<StatePiece> ReplicatedStore::owned_state() {
  std::vector<StatePiece> pieces;
  for (const BucketState& bucket : buckets_) {
    const std::int64_t shard_begin = bucket.shard.begin, shard_end = bucket.shard.begin + bucket.shard.master.numel();
    for (const Slot& slot : bucket.layout.slots) {
      const std::int64_t begin = std::max(slot.offset, shard_begin),
                         end = std::min(slot.offset + slot.count, shard_end);
      if (begin >= end) continue;
      const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, begin - shard_begin, end - begin); };
      pieces.push_back({slot.block, slot.parameter, begin - slot.offset, part(bucket.shard.master),
                        part(bucket.shard.first_moment), part(bucket.shard.second_moment)});
    }
  }
  return pieces;
}

void ReplicatedStore::publish() {
  const c10::NoGradGuard no_grad;
  for (BucketState& bucket : buckets_) {
    copy_master_to(bucket.values, bucket.shard);
    communicator_.all_gather(whole(bucket.values), bucket.shards).wait();
  }
}

}  // namespace

std::unique_ptr<ParameterStore> make_replicated_store(const model::Model& model, comm::Communicator& communicator,
                                                      const ReplicatedStoreOptions& options, Trace* trace) {
  return std::make_unique<ReplicatedStore>(model, communicator, options, trace);
}

StepTraffic replicated_traffic(const model::Model& model, const ReplicatedStoreOptions& options) {
  const auto master = static_cast<std::int64_t>(at::elementSize(master_type(options.precision)));
  const auto compute = static_cast<std::int64_t>(at::elementSize(compute_type(options.precision)));
  const std::vector<Bucket> buckets = make_buckets(model, options.bucket_bytes / master);
  StepTraffic traffic;
  for (const Bucket& bucket : buckets) {
    traffic.gradient_bytes += bucket.count * master;
    traffic.parameter_bytes += bucket.count * compute;
  }
  for (std::size_t i = 0; i < std::min<std::size_t>(2, buckets.size()); ++i)
    traffic.boundary_gradient_bytes += buckets[i].count * master;
  return traffic;
}

}  // namespace lshdp::parallel
