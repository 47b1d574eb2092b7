// The fully sharded store: parameters gathered bucket by bucket, gradients reduce-scattered in each pass.
#include "fsdp/fully_sharded_store.h"

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "fsdp/slot_assignment.h"
#include "layout/block_layout.h"
#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/device.h"
#include "lshdp/core/memory.h"
#include "optimizer/sharded_adamw.h"
#include "optimizer/update_thread.h"

namespace lshdp::parallel {
namespace {

// The computation waits for gathers; sums only hold memory. At most one gather is ahead, so sums do not starve.
constexpr int kParameterPriority = kReducePriority;
constexpr int kSumPriority = kGatherPriority;

struct BucketState {
  comm::Shards shards;
  ShardState shard;     // this rank's part: master, moments
  at::Tensor gradient;  // this rank's part of the step's sum, master type
  // On the device, in slots.
  at::Tensor values;  // [count], compute type
  at::Tensor sum;     // [count], master type: gradients of a pass
  // In the memory that the network uses: the same two, unless they are copied for it.
  at::Tensor wire_values, wire_sum;
  at::Tensor scratch;           // bytes that reduce-scatter receives into
  Event sent, computed;         // its shard of the values, and its sum, are where the network takes them
  std::vector<bool> touched;    // by slot of the layout: this pass has written its gradient
  std::size_t blocks_left = 0;  // without their gradient of this pass
  bool gathered = false;        // `values` are current, or will be when `gather` is done
  bool arriving = false;        // nobody has waited for `gather` yet
  bool prepared = false;        // this pass's receives of the sum are posted
  bool summed = false;          // `gradient` holds earlier passes of the step (update thread)
  comm::Work gather, reduce;
};

class FullyShardedStore final : public ParameterStore, private BucketWork {
 public:
  FullyShardedStore(const model::Model& model, comm::Communicator& communicator, const StoreOptions& options,
                    Trace* trace);
  ~FullyShardedStore() override;

  void begin_step(const Update& update) override;
  bool gathers_every_pass() const override { return true; }
  void acquire(std::size_t block) override;
  std::span<const at::Tensor> parameters(std::size_t block) const override { return parameters_[block]; }
  void release(std::size_t block) override;
  void add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) override;
  void synchronize() override;
  double backward_scale() const override { return thread_.backward_scale(update_); }
  LossScale loss_scale() const override { return thread_.loss_scale(); }
  void set_loss_scale(const LossScale& state) override { thread_.set_loss_scale(state); }
  StepReport report_of(std::int64_t step) const override { return thread_.report_of(step); }
  StoreUsage usage() const override {
    return {.wait_seconds = wait_seconds_, .update_seconds = thread_.update_seconds(), .host_bytes = host_bytes_};
  }
  void take_values(const model::BlockValues& source) override;
  void gather_each(const TakeValue& take) override;
  std::vector<StatePiece> owned_state() override;
  void observe_state(std::shared_ptr<StateObserver> observer) override { thread_.observe_state(std::move(observer)); }
  void publish() override { forget_gathered(); }

 private:
  void make_shards_of_ranks();
  void make_shard_memory();
  void make_wire_memory();
  std::vector<at::Tensor> on_wire(const std::vector<at::Tensor>& slots);
  void make_parameter_slots();
  void make_gradient_slots();
  void begin_pass();
  void follow(std::size_t block);
  std::optional<std::size_t> next_wanted(std::size_t block) const;
  void gather(std::size_t index);
  void send_shard(BucketState& bucket);
  void wait_for_values(std::size_t index);
  void prepare(std::size_t index);
  void deliver(std::size_t index, bool last);
  void forget_gathered();

  // On the update thread.
  void finish_reduce(std::size_t index) override;
  double mean_squared_norm(std::size_t index, const Update& update) override;
  void update(std::size_t index, const Update& update, double scale) override;
  void drop_gradients(std::size_t index) override { buckets_[index].summed = false; }
  void send_parameters(std::size_t) override {}  // they are gathered when they are wanted

  comm::Communicator& communicator_;
  StoreOptions options_;
  std::shared_ptr<ComputeDevice> device_;
  bool copies_;  // for the network
  Trace* trace_;
  BlockLayout layout_;
  SlotAssignment parameter_slots_of_, gradient_slots_of_;
  HostArena wire_memory_{0};  // where it copies
  std::vector<BucketState> buckets_;
  std::vector<std::vector<at::Tensor>> parameters_;     // by block: its own, then those it borrows, as leaves
  std::vector<std::optional<std::size_t>> occupants_;   // by parameter slot: the bucket last gathered there
  std::vector<Event> slots_free_;                       // by parameter slot: what read it last is done
  std::vector<Event> slots_filled_;                     // by parameter slot: the network's copy of it is read
  std::vector<std::optional<std::size_t>> last_users_;  // by gradient slot: the bucket last summed there
  Update update_;
  std::int64_t host_bytes_ = 0;
  std::int64_t step_ = 0;
  bool in_step_ = false;
  bool backward_ = false;           // of the pass under way
  std::size_t forward_blocks_ = 0;  // that this pass has acquired
  std::size_t buckets_left_ = 0;    // not delivered in this pass
  double wait_seconds_ = 0;
  UpdateThread thread_;  // the last member: it begins when all others are there
};

FullyShardedStore::FullyShardedStore(const model::Model& model, comm::Communicator& communicator,
                                     const StoreOptions& options, Trace* trace)
    : communicator_(communicator),
      options_(options),
      device_(device_or_host(options.device)),
      copies_(copies_for_wire(*device_, communicator)),
      trace_(trace),
      layout_(model, min_count(options.bucket_bytes, options.strategy.precision)),
      parameter_slots_of_(assign_slots(layout_, model.blocks.size(), kParameterSlots)),
      gradient_slots_of_(assign_slots(layout_, model.blocks.size(), kGradientSlots)),
      buckets_(layout_.buckets().size()),
      parameters_(model.blocks.size()),
      thread_(*this, buckets_.size(), communicator, *device_, static_cast<int>(2 * buckets_.size()), trace,
              make_loss_scaler(options.strategy.precision, options.loss_scaling)) {
  make_shards_of_ranks();
  make_shard_memory();
  if (copies_) make_wire_memory();
  make_parameter_slots();
  make_gradient_slots();
}

FullyShardedStore::~FullyShardedStore() {
  // A pass that was left half way (an error) would never end: the other ranks may be gone. Gathers are one ahead only
  // within a pass.
  const bool in_pass = std::ranges::any_of(buckets_, &BucketState::arriving);
  thread_.stop(in_step_ || in_pass);
  for (BucketState& bucket : buckets_) {
    try {
      bucket.gather.wait();
    } catch (const std::exception&) {
      // The memory may go. Nobody is left to hear of a failure.
    }
  }
  synchronize_device(*device_);
}

void FullyShardedStore::make_shards_of_ranks() {
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    const Bucket& layout = layout_.buckets()[index];
    buckets_[index].shards = make_shards(layout.count, communicator_.size(), options_.shard_weights);
    buckets_[index].touched.resize(layout.slots.size());
  }
}

/// What this rank owns: on the device, or in an arena of the host.
void FullyShardedStore::make_shard_memory() {
  const at::ScalarType master = master_type(options_.strategy.precision);
  const int rank = communicator_.rank();
  std::int64_t bytes = 0;
  for (const BucketState& bucket : buckets_) bytes += 4 * HostArena::bytes_of(bucket.shards.count(rank), master);
  std::optional<HostArena> host;
  if (options_.strategy.offload) {
    host.emplace(bytes, *device_);
    host_bytes_ += bytes;
  }
  for (BucketState& bucket : buckets_) {
    const std::int64_t count = bucket.shards.count(rank);
    const auto take = [&] { return host ? host->take(count, master) : zeros_on(*device_, count, master); };
    bucket.shard = {bucket.shards.begin(rank), take(), take(), take()};
    bucket.gradient = take();
  }
}

void FullyShardedStore::make_wire_memory() {
  std::int64_t bytes = 0;
  for (const std::int64_t count : parameter_slots_of_.counts)
    bytes += HostArena::bytes_of(count, compute_type(options_.strategy.precision));
  for (const std::int64_t count : gradient_slots_of_.counts)
    bytes += HostArena::bytes_of(count, master_type(options_.strategy.precision));
  wire_memory_ = HostArena(bytes, *device_);
  host_bytes_ += bytes;
}

/// What the network uses in place of slots of the device.
std::vector<at::Tensor> FullyShardedStore::on_wire(const std::vector<at::Tensor>& slots) {
  if (!copies_) return slots;
  std::vector<at::Tensor> there;
  for (const at::Tensor& slot : slots) there.push_back(wire_memory_.take(slot.numel(), slot.scalar_type()));
  return there;
}

/// A bucket's values always lie at the same place: what forward keeps of them for backward is found there again.
void FullyShardedStore::make_parameter_slots() {
  std::vector<at::Tensor> slots;
  for (const std::int64_t count : parameter_slots_of_.counts)
    slots.push_back(zeros_on(*device_, count, compute_type(options_.strategy.precision)));
  const std::vector<at::Tensor> wire_slots = on_wire(slots);
  occupants_.resize(slots.size());
  slots_free_.resize(slots.size());
  slots_filled_.resize(slots.size());
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    const std::size_t slot = parameter_slots_of_.slot_of[index];
    const std::int64_t count = layout_.buckets()[index].count;
    buckets_[index].values = slots[slot].narrow(0, 0, count);
    buckets_[index].wire_values = wire_slots[slot].narrow(0, 0, count);
  }
  for (std::size_t block = 0; block < parameters_.size(); ++block) {
    for (const SlotPlace& place : layout_.places(block))
      parameters_[block].push_back(layout_.leaf(buckets_[place.bucket].values, place));
  }
}

void FullyShardedStore::make_gradient_slots() {
  const at::ScalarType master = master_type(options_.strategy.precision);
  std::vector<comm::Shards> shards;
  for (const BucketState& bucket : buckets_) shards.push_back(bucket.shards);
  const std::vector<std::int64_t> scratch_bytes =
      scratch_of_slots(gradient_slots_of_, shards, wire_type(master), communicator_.rank());
  std::vector<at::Tensor> sums, scratch;
  for (std::size_t slot = 0; slot < gradient_slots_of_.counts.size(); ++slot) {
    sums.push_back(zeros_on(*device_, gradient_slots_of_.counts[slot], master));
    scratch.push_back(at::empty({scratch_bytes[slot]}, at::kByte));
    if (device_->has_own_memory()) host_bytes_ += scratch_bytes[slot];
  }
  const std::vector<at::Tensor> wire_sums = on_wire(sums);
  last_users_.resize(sums.size());
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    const std::size_t slot = gradient_slots_of_.slot_of[index];
    buckets_[index].sum = sums[slot].narrow(0, 0, layout_.buckets()[index].count);
    buckets_[index].wire_sum = wire_sums[slot].narrow(0, 0, layout_.buckets()[index].count);
    buckets_[index].scratch = scratch[slot];
  }
}

void FullyShardedStore::begin_step(const Update& update) {
  if (in_step_) throw std::logic_error("begin_step before the last gradients of the step before");
  thread_.rethrow_error();
  update_ = update;
  ++step_;
  in_step_ = true;
  begin_pass();
}

void FullyShardedStore::begin_pass() {
  backward_ = false;
  forward_blocks_ = 0;
  buckets_left_ = buckets_.size();
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    BucketState& bucket = buckets_[index];
    const Bucket& layout = layout_.buckets()[index];
    bucket.touched.assign(bucket.touched.size(), false);
    bucket.blocks_left = layout.last_block - layout.first_block + 1;
    bucket.prepared = false;
  }
}

void FullyShardedStore::acquire(std::size_t block) {
  const c10::NoGradGuard no_grad;
  const double begun = now_seconds();
  follow(block);
  for (const std::size_t index : layout_.buckets_of(block)) gather(index);
  if (const auto next = next_wanted(block)) gather(*next);
  for (const std::size_t index : layout_.buckets_of(block)) {
    wait_for_values(index);
    if (backward_ && !buckets_[index].prepared) prepare(index);
  }
  wait_seconds_ += now_seconds() - begun;
}

/// Where in its pass the caller is. Outside of a step there is no backward.
void FullyShardedStore::follow(std::size_t block) {
  if (!in_step_) return;
  backward_ = forward_blocks_ == parameters_.size();
  if (backward_) return;
  if (block != forward_blocks_) throw std::logic_error("a pass acquires its blocks in order");
  ++forward_blocks_;
}

/// The bucket whose parameters the pass wants next.
std::optional<std::size_t> FullyShardedStore::next_wanted(std::size_t block) const {
  const std::size_t index = layout_.bucket_of(block);
  if (backward_) return index > 0 ? std::optional(index - 1) : std::nullopt;
  return index + 1 < buckets_.size() ? std::optional(index + 1) : std::nullopt;
}

/// Sends this rank's shard and receives the others', where the bucket's current values are not in their slot. Whatever
/// was in the slot before is gone.
void FullyShardedStore::gather(std::size_t index) {
  BucketState& bucket = buckets_[index];
  if (bucket.gathered) return;
  thread_.wait_updated(index);
  std::optional<std::size_t>& occupant = occupants_[parameter_slots_of_.slot_of[index]];
  if (occupant) buckets_[*occupant].gathered = false;
  occupant = index;
  slots_filled_[parameter_slots_of_.slot_of[index]].wait();
  bucket.gather = communicator_.all_gather(
      buffer_of(bucket.wire_values), bucket.shards,
      {.tag = static_cast<int>(2 * index + 1), .priority = kParameterPriority, .deferred = true});
  send_shard(bucket);
  bucket.gathered = bucket.arriving = true;
}

void FullyShardedStore::send_shard(BucketState& bucket) {
  const at::Tensor& values = options_.strategy.offload ? bucket.wire_values : bucket.values;
  copy_master_to(values, bucket.shard);
  bucket.sent =
      start_when_there(*device_, shard_of(bucket.wire_values, bucket.shard), shard_of(values, bucket.shard),
                       copies_ && !options_.strategy.offload ? device_->record_event() : Event(), bucket.gather);
}

void FullyShardedStore::wait_for_values(std::size_t index) {
  BucketState& bucket = buckets_[index];
  if (!bucket.arriving) return;
  bucket.sent.wait();
  bucket.gather.wait();
  bucket.arriving = false;
  if (copies_) {
    const std::size_t slot = parameter_slots_of_.slot_of[index];
    slots_filled_[slot] = copy_in(*device_, bucket.values, bucket.wire_values, slots_free_[slot]);
    device_->wait_event(slots_filled_[slot]);
  }
  trace_transfer(trace_, "all-gather", index, bucket.gather);
}

/// Posts the receives of the bucket's sum, when the slot's last user has left it.
void FullyShardedStore::prepare(std::size_t index) {
  BucketState& bucket = buckets_[index];
  std::optional<std::size_t>& last_user = last_users_[gradient_slots_of_.slot_of[index]];
  if (last_user) thread_.wait_reduced(*last_user);
  last_user = index;
  const std::span scratch(
      static_cast<std::byte*>(bucket.scratch.data_ptr()),
      comm::scratch_bytes(bucket.shards, wire_type(bucket.sum.scalar_type()), communicator_.rank()));
  bucket.reduce = communicator_.reduce_scatter_sum(
      buffer_of(bucket.wire_sum), bucket.shards,
      {.tag = static_cast<int>(2 * index), .priority = kSumPriority, .deferred = true, .scratch = scratch});
  bucket.prepared = true;
}

/// What the slots hold stays there until another bucket needs the place.
void FullyShardedStore::release(std::size_t block) {
  if (!copies_) return;
  const Event free = device_->record_event();
  for (const std::size_t index : layout_.buckets_of(block)) slots_free_[parameter_slots_of_.slot_of[index]] = free;
}

void FullyShardedStore::add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) {
  const std::size_t index = layout_.bucket_of(block);
  if (!in_step_ || !buckets_[index].prepared) throw std::logic_error("add_gradient before acquire");
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const SlotPlace& place = layout_.places(block)[i];
    BucketState& bucket = buckets_[place.bucket];
    layout_.accumulate(bucket.sum, place, gradients[i], bucket.touched);
  }
  if (--buckets_[index].blocks_left == 0) deliver(index, last);
}

/// The bucket's gradients of this pass are complete on this rank: its sum may travel.
void FullyShardedStore::deliver(std::size_t index, bool last) {
  BucketState& bucket = buckets_[index];
  layout_.clear_untouched(bucket.sum, index, bucket.touched);
  bucket.computed = start_when_there(*device_, bucket.wire_sum, bucket.sum, device_->record_event(), bucket.reduce);
  if (last) bucket.gathered = false;  // the update will change them, and this step needs them no more
  thread_.deliver(index, step_, update_, last);
  if (--buckets_left_ > 0) return;
  in_step_ = !last;
  begin_pass();
}

void FullyShardedStore::finish_reduce(std::size_t index) {
  BucketState& bucket = buckets_[index];
  bucket.computed.wait();
  bucket.reduce.wait();
  trace_transfer(trace_, "reduce-scatter", index, bucket.reduce);
  const at::Tensor part = shard_of(bucket.wire_sum, bucket.shard);
  if (std::exchange(bucket.summed, true))
    bucket.gradient.add_(part.to(bucket.gradient.device()));
  else
    bucket.gradient.copy_(part);
  device_->record_event().wait();  // the next pass sums in the same memory
}

double FullyShardedStore::mean_squared_norm(std::size_t index, const Update& update) {
  const at::Tensor& gradient = buckets_[index].gradient;
  if (gradient.numel() == 0) return 0;
  const double norm = at::linalg_vector_norm(gradient, 2).item<double>() / update.sum_over_mean();
  return norm * norm;
}

void FullyShardedStore::update(std::size_t index, const Update& update, double scale) {
  BucketState& bucket = buckets_[index];
  update_shard(bucket.shard, bucket.gradient, layout_.buckets()[index].runs, options_.adamw, update,
               scale / update.sum_over_mean());
  device_->record_event().wait();
  bucket.summed = false;
}

void FullyShardedStore::synchronize() {
  if (in_step_) throw std::logic_error("synchronize within a step");
  const double begun = now_seconds();
  for (std::size_t index = 0; index < buckets_.size(); ++index) thread_.wait_updated(index);
  wait_seconds_ += now_seconds() - begun;
}

void FullyShardedStore::forget_gathered() {
  for (BucketState& bucket : buckets_) bucket.gathered = false;
}

void FullyShardedStore::take_values(const model::BlockValues& source) {
  const c10::NoGradGuard no_grad;
  const HostMemoryScope host;
  layout_.take_values(source, [&](std::size_t index, const model::Values& values) {
    const at::Tensor arena = at::zeros({layout_.buckets()[index].count}, master_type(options_.strategy.precision));
    layout_.copy_from_values(arena, index, values);
    reset_shard(buckets_[index].shard, arena);
  });
  forget_gathered();
}

void FullyShardedStore::gather_each(const TakeValue& take) {
  const c10::NoGradGuard no_grad;
  const HostMemoryScope host;
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    const BucketState& bucket = buckets_[index];
    layout_.take_each(take, index, gather_master(communicator_, bucket.shard, bucket.shards));
  }
}

std::vector<StatePiece> FullyShardedStore::owned_state() {
  std::vector<StatePiece> pieces;
  for (std::size_t index = 0; index < buckets_.size(); ++index)
    layout_.append_pieces(pieces, index, buckets_[index].shard);
  return pieces;
}

}  // namespace

std::unique_ptr<ParameterStore> make_fully_sharded_store(const model::Model& model, comm::Communicator& communicator,
                                                         const StoreOptions& options, Trace* trace) {
  return std::make_unique<FullyShardedStore>(model, communicator, options, trace);
}

}  // namespace lshdp::parallel
