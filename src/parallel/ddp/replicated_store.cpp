// The replicated store: gradients reduce-scattered per bucket, shards updated on a thread, parameters gathered behind
// forward.
#include "ddp/replicated_store.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "ddp/replicated_sizes.h"
#include "ddp/table_rows.h"
#include "layout/block_layout.h"
#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lshdp/core/bf16.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/device.h"
#include "lshdp/parallel/placement.h"
#include "optimizer/sharded_adamw.h"
#include "optimizer/update_thread.h"

namespace lshdp::parallel {
namespace {

struct BucketState {
  comm::Communicator* group = nullptr;  // the ranks that hold it; null: this rank is none of them, and nothing follows
  bool copies = false;                  // for the network
  comm::Shards shards;
  // On the device.
  at::Tensor values;     // [count], compute type
  at::Tensor changes;    // [count], bf16: what the step adds to values; only where that travels instead of them
  at::Tensor gradients;  // [count], master type; padding is always zero
  ShardState shard;      // this rank's part: master, moments
  // In the memory that the network uses: `gradients`, and values or changes, themselves unless they are copied for it.
  at::Tensor wire_gradients, wire_parameters;
  at::Tensor scratch;            // bytes that reduce-scatter receives into
  Event computed;                // the gradients delivered last are there, and in the memory that the network uses
  std::vector<bool> touched;     // by slot: this step has written its gradient
  std::size_t blocks_left = 0;   // without their last gradient of this step
  bool prepared = false;         // this step's receives are posted
  bool gather_started = true;    // a table's, which waits until the rows looked up have passed; others start alone
  bool gather_worked_in = true;  // what was gathered last is in values, and in the trace
  comm::Work reduce, gather;     // of the step delivered last
};

class ReplicatedStore final : public ParameterStore, private BucketWork {
 public:
  ReplicatedStore(const model::Model& model, comm::Communicator& communicator, const StoreOptions& options,
                  Trace* trace);
  ~ReplicatedStore() override;

  void begin_step(const Update& update) override;
  bool looks_up_rows() const override { return rows_.has_value(); }
  void look_up(const at::Tensor& rows) override;
  void acquire(std::size_t block) override;
  std::span<const at::Tensor> parameters(std::size_t block) const override { return parameters_[block]; }
  void release(std::size_t) override {}
  void add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) override;
  void synchronize() override;
  double backward_scale() const override { return thread_.backward_scale(update_); }
  LossScale loss_scale() const override { return thread_.loss_scale(); }
  void set_loss_scale(const LossScale& state) override { thread_.set_loss_scale(state); }
  StepReport report_of(std::int64_t step) const override { return thread_.report_of(step); }
  StoreUsage usage() const override {
    return {.wait_seconds = wait_seconds_, .update_seconds = thread_.update_seconds(), .host_bytes = host_bytes()};
  }
  void take_values(const model::BlockValues& source) override;
  void gather_each(const TakeValue& take) override;
  std::vector<StatePiece> owned_state() override;
  void observe_state(std::shared_ptr<StateObserver> observer) override { thread_.observe_state(std::move(observer)); }
  void publish() override;

 private:
  std::int64_t host_bytes() const;
  comm::Communicator* group_of(std::size_t index) const;
  void make_wire_memory();
  std::vector<std::size_t> buckets_where(bool held) const;
  BucketState make_bucket(std::size_t index);
  void fill(std::size_t index);
  at::Tensor on_wire(const BucketState& bucket, const at::Tensor& arena);
  static void start_gather(BucketState& bucket);
  static void finish_gather(BucketState& bucket) noexcept;
  void make_leaves();
  static const at::Tensor& gathered(const BucketState& bucket);
  static void round_changes(const BucketState& bucket);
  static void add_changes(const BucketState& bucket);
  void wait_for_bucket(std::size_t index);
  void make_table_rows(int first_tag);
  at::Tensor owned_rows(const at::Tensor& arena) const;
  void acquire_rows();
  at::Tensor current_rows();
  void acquire_table();
  int sum_priority(std::size_t index) const;
  void prepare(std::size_t index);
  void note_last_gradient(std::size_t index);
  void deliver(std::size_t index);

  // On the update thread.
  bool reduced(std::size_t index) const override;
  void finish_reduce(std::size_t index) override;
  double mean_squared_norm(std::size_t index, const Update& update) override;
  void update(std::size_t index, const Update& update, double scale) override;
  void send_parameters(std::size_t index) override;
  void start_gathers_in_order();

  void abandon() noexcept override;

  comm::Communicator& communicator_;
  StoreOptions options_;
  std::shared_ptr<ComputeDevice> device_;
  Trace* trace_;
  BlockLayout layout_;
  HostArena wire_memory_{0};                         // where it copies
  std::vector<BucketState> buckets_;                 // as the layout has them
  std::vector<std::size_t> held_;                    // of them, rising
  std::vector<std::vector<at::Tensor>> parameters_;  // by block: its own, then those it borrows, as leaves

  std::optional<TableRows> rows_;  // where the layout has a table

  Update update_;
  std::int64_t step_ = 0;
  bool in_step_ = false;
  std::size_t buckets_left_ = 0;
  double wait_seconds_ = 0;
  std::mutex order_mutex_;                     // guards what follows
  std::size_t sums_to_start_ = 0;              // of the step whose gradients are delivered
  std::vector<std::size_t> gathers_to_start_;  // buckets, in the order of their updates
  UpdateThread thread_;                        // the last member: it begins when all others are there
};

ReplicatedStore::ReplicatedStore(const model::Model& model, comm::Communicator& communicator,
                                 const StoreOptions& options, Trace* trace)
    : communicator_(communicator),
      options_(options),
      device_(device_or_host(options.device)),
      trace_(trace),
      layout_(
          model, min_count(options.bucket_bytes, options.strategy.precision),
          communicator.moves_device_memory() ? kNoTable : min_count(options.table_bytes, options.strategy.precision),
          options.placement ? std::span<const int>(options.placement->groups()) : std::span<const int>()),
      parameters_(model.blocks.size()),
      thread_(*this, layout_.buckets().size(), communicator, *device_, static_cast<int>(2 * layout_.buckets().size()),
              trace, make_loss_scaler(options.strategy.precision, options.loss_scaling), buckets_where(false)) {
  held_ = buckets_where(true);
  make_wire_memory();
  for (std::size_t index = 0; index < layout_.buckets().size(); ++index) {
    buckets_.push_back(make_bucket(index));
    if (options_.fill_trained && buckets_.back().group != nullptr) fill(index);
  }
  options_.fill_trained = nullptr;  // and what it holds
  make_leaves();
  if (layout_.table() && buckets_[*layout_.table()].group != nullptr)
    make_table_rows(static_cast<int>(2 * buckets_.size() + 1));
}

ReplicatedStore::~ReplicatedStore() {
  // A table's gather that no rank has had a reason to start would be waited for in vain, as would a step's.
  const bool done = !in_step_ && std::ranges::all_of(buckets_, &BucketState::gather_started);
  thread_.stop(!done);
  for (BucketState& bucket : buckets_) finish_gather(bucket);
  synchronize_device(*device_);
}

/// For the thread that computes, once the bucket is updated.
void ReplicatedStore::start_gather(BucketState& bucket) {
  if (!std::exchange(bucket.gather_started, true)) bucket.gather.start();
}

/// The arenas may go. Nobody is left to hear of a failure.
void ReplicatedStore::finish_gather(BucketState& bucket) noexcept {
  try {
    bucket.gather.wait();
  } catch (const std::exception&) {
  }
}

comm::Communicator* ReplicatedStore::group_of(std::size_t index) const {
  return options_.placement ? options_.placement->group_of(layout_.buckets()[index].first_block) : &communicator_;
}

/// Those that this rank holds, or the others.
std::vector<std::size_t> ReplicatedStore::buckets_where(bool held) const {
  std::vector<std::size_t> found;
  for (std::size_t index = 0; index < layout_.buckets().size(); ++index) {
    if ((group_of(index) != nullptr) == held) found.push_back(index);
  }
  return found;
}

void ReplicatedStore::make_wire_memory() {
  std::int64_t bytes = 0;
  for (const std::size_t index : held_) {
    if (copies_for_wire(*device_, *group_of(index))) bytes += wire_bytes(layout_.buckets()[index].count, options_);
  }
  wire_memory_ = HostArena(bytes, *device_);
}

/// What the network uses in place of an arena of the device.
at::Tensor ReplicatedStore::on_wire(const BucketState& bucket, const at::Tensor& arena) {
  return bucket.copies ? wire_memory_.take(arena.numel(), arena.scalar_type()) : arena;
}

BucketState ReplicatedStore::make_bucket(std::size_t index) {
  BucketState bucket;
  bucket.group = group_of(index);
  if (bucket.group == nullptr) return bucket;
  bucket.copies = copies_for_wire(*device_, *bucket.group);
  const Bucket& layout = layout_.buckets()[index];
  const at::ScalarType master = master_type(options_.strategy.precision),
                       compute = compute_type(options_.strategy.precision);
  const auto zeros = [&](at::ScalarType type) { return zeros_on(*device_, layout.count, type); };
  const int rank = bucket.group->rank();
  bucket.shards = layout_.shards(index, bucket.group->size(), options_.shard_weights);
  bucket.values = zeros(compute);
  bucket.gradients = zeros(master);
  bucket.scratch = at::empty(
      {static_cast<std::int64_t>(comm::scratch_bytes(bucket.shards, wire_type(master), rank, options_.strategy.wire))},
      at::kByte);
  bucket.shard = make_shard_state(bucket.values, master, bucket.shards.begin(rank), bucket.shards.end(rank));
  if (changes_travel(options_)) {
    bucket.changes = zeros(at::kBFloat16);
    bucket.shard.master = bucket.shard.master.clone();  // not a view of values, which follow it in rounded steps
  }
  bucket.wire_gradients = on_wire(bucket, bucket.gradients);
  bucket.wire_parameters = on_wire(bucket, gathered(bucket));
  bucket.touched.resize(layout.slots.size());
  return bucket;
}

/// From where the options say.
void ReplicatedStore::fill(std::size_t index) {
  const c10::NoGradGuard no_grad;
  std::vector<StatePiece> pieces;
  layout_.append_pieces(pieces, index, buckets_[index].shard);
  options_.fill_trained(pieces);
}

void ReplicatedStore::make_table_rows(int first_tag) {
  const at::ScalarType master = master_type(options_.strategy.precision);
  const BucketState& table = buckets_[*layout_.table()];
  rows_.emplace(layout_, table.shards, *table.group, *device_, master,
                options_.strategy.wire == Wire::bf16 ? at::kBFloat16 : master, first_tag, kNormPriority);
}

void ReplicatedStore::make_leaves() {
  for (std::size_t block = 0; block < parameters_.size(); ++block) {
    if (buckets_[layout_.bucket_of(block)].group == nullptr) continue;
    for (const SlotPlace& place : layout_.places(block))
      parameters_[block].push_back(layout_.leaf(buckets_[place.bucket].values, place));
  }
}

void ReplicatedStore::begin_step(const Update& update) {
  if (in_step_) throw std::logic_error("begin_step before the last gradients of the step before");
  thread_.rethrow_error();
  thread_.wait_empty_step();
  update_ = update;
  ++step_;
  in_step_ = true;
  buckets_left_ = held_.size();
  for (const std::size_t index : held_) {
    BucketState& bucket = buckets_[index];
    const Bucket& layout = layout_.buckets()[index];
    bucket.touched.assign(bucket.touched.size(), false);
    bucket.blocks_left = layout.last_block - layout.first_block + 1;
    bucket.prepared = false;
  }
  if (held_.empty()) {
    in_step_ = false;
    thread_.deliver_empty_step(step_, update_);
  }
  if (!rows_) return;
  buckets_[rows_->bucket()].blocks_left = rows_->borrowers();
  rows_->begin_step();
}

void ReplicatedStore::look_up(const at::Tensor& rows) {
  if (!in_step_) throw std::logic_error("look_up that does not follow begin_step");
  rows_->look_up(rows);
}

void ReplicatedStore::acquire(std::size_t block) {
  for (const std::size_t index : layout_.buckets_of(block)) {
    wait_for_bucket(index);
    if (in_step_ && !buckets_[index].prepared) prepare(index);
  }
  if (!rows_ || block > 0) return;
  if (!in_step_)
    acquire_table();
  else if (!rows_->in_step())
    acquire_rows();
}

/// Outside of steps the first block has the table itself.
void ReplicatedStore::acquire_table() {
  wait_for_bucket(rows_->bucket());
  parameters_[0][rows_->parameter()] = layout_.leaf(buckets_[rows_->bucket()].values, rows_->place());
}

/// Lets the first block begin with the rows it needs; the table follows behind the forward of the blocks after it.
void ReplicatedStore::acquire_rows() {
  const double begun = now_seconds();
  parameters_[0][rows_->parameter()] = current_rows().requires_grad_(true);
  wait_seconds_ += now_seconds() - begun;
  rows_->expect_gradients();
}

/// The rows that this rank looks up, as every rank will have them when the table is gathered.
at::Tensor ReplicatedStore::current_rows() {
  const c10::NoGradGuard no_grad;
  BucketState& bucket = buckets_[rows_->bucket()];
  const at::Tensor& looked_up = rows_->looked_up();
  at::Tensor rows;
  rows_->begin_fetch(gathered(bucket).scalar_type());
  thread_.wait_updated(rows_->bucket());
  if (!rows_->whole()) rows = rows_->fetch(owned_rows(bucket.wire_parameters));
  start_gather(bucket);
  if (rows.defined() && !bucket.changes.defined()) return rows;
  const at::Tensor known = layout_.view(bucket.values, rows_->place()).index_select(0, looked_up);
  return bucket.gather_worked_in ? known : known.add_(rows);
}

at::Tensor ReplicatedStore::owned_rows(const at::Tensor& arena) const {
  return rows_->owned(arena, buckets_[rows_->bucket()].shard);
}

void ReplicatedStore::wait_for_bucket(std::size_t index) {
  BucketState& bucket = buckets_[index];
  const double begun = now_seconds();
  thread_.wait_updated(index);
  start_gather(bucket);
  bucket.gather.wait();
  wait_seconds_ += now_seconds() - begun;
  if (std::exchange(bucket.gather_worked_in, true)) return;
  if (bucket.copies) {
    // Nothing has read them since the step's gradients left, but rows of a table may just be looked up.
    const Event free = layout_.buckets()[index].table ? device_->record_event() : Event();
    device_->wait_event(copy_in(*device_, gathered(bucket), bucket.wire_parameters, free));
  }
  if (bucket.changes.defined()) add_changes(bucket);
  trace_transfer(trace_, "all-gather", index, bucket.gather);
}

/// The same on every rank, the owner included, so replicas stay identical.
void ReplicatedStore::add_changes(const BucketState& bucket) {
  if (!bucket.values.is_cpu()) {
    bucket.values.add_(bucket.changes);
    return;
  }
  auto* values = bucket.values.mutable_data_ptr<float>();
  const auto* changes = static_cast<const Bf16*>(bucket.changes.const_data_ptr());
  at::parallel_for(0, bucket.values.numel(), at::internal::GRAIN_SIZE, [=](std::int64_t begin, std::int64_t end) {
    add_bf16(values + begin, changes + begin, end - begin);
  });
}

/// What the owner of a shard sends to all after the update.
const at::Tensor& ReplicatedStore::gathered(const BucketState& bucket) {
  return bucket.changes.defined() ? bucket.changes : bucket.values;
}

/// The ones that the next forward needs first; of a table, that is the rows.
int ReplicatedStore::sum_priority(std::size_t index) const {
  return kReducePriority + (layout_.buckets()[index].table ? 0 : static_cast<int>(index));
}

/// Posts the receives of the bucket's sum. The step before is done with its arenas here, because acquire() has waited
/// for it.
void ReplicatedStore::prepare(std::size_t index) {
  BucketState& bucket = buckets_[index];
  const std::span scratch(static_cast<std::byte*>(bucket.scratch.data_ptr()),
                          static_cast<std::size_t>(bucket.scratch.numel()));
  bucket.reduce = bucket.group->reduce_scatter_sum(buffer_of(bucket.wire_gradients), bucket.shards,
                                                   {.tag = static_cast<int>(2 * index),
                                                    .priority = sum_priority(index),
                                                    .wire = options_.strategy.wire,
                                                    .deferred = true,
                                                    .scratch = scratch});
  bucket.prepared = true;
}

void ReplicatedStore::add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) {
  const std::size_t index = layout_.bucket_of(block);
  if (!in_step_ || !buckets_[index].prepared) throw std::logic_error("add_gradient before acquire");
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const SlotPlace& place = layout_.places(block)[i];
    BucketState& bucket = buckets_[place.bucket];
    if (rows_ && block == 0 && i == rows_->parameter())
      rows_->add_gradients(gradients[i]);
    else
      layout_.accumulate(bucket.gradients, place, gradients[i], bucket.touched);
  }
  if (!last) return;
  if (rows_ && block == 0) rows_->send_gradients();
  if (rows_ && rows_->borrowed_by(block)) note_last_gradient(rows_->bucket());
  note_last_gradient(index);
}

void ReplicatedStore::note_last_gradient(std::size_t index) {
  if (--buckets_[index].blocks_left == 0) deliver(index);
}

/// The bucket's gradients are complete on this rank: its sum may travel. The gather's receives are posted first: no
/// peer can gather before it has this rank's gradients, and nothing here reads the bucket's parameters any more in this
/// step.
void ReplicatedStore::deliver(std::size_t index) {
  if (buckets_left_ == held_.size()) {
    // The step before has sent all its parameters: every rank has acquired every block since.
    const std::scoped_lock lock(order_mutex_);
    sums_to_start_ = held_.size();
  }
  BucketState& bucket = buckets_[index];
  layout_.clear_untouched(bucket.gradients, index, bucket.touched);
  bucket.gather = bucket.group->all_gather(buffer_of(bucket.wire_parameters), bucket.shards,
                                           {.tag = static_cast<int>(2 * index + 1),
                                            .priority = kReducePriority + static_cast<int>(buckets_.size() + index),
                                            .deferred = true});
  if (layout_.buckets()[index].table) {
    rows_->deliver(thread_.waker());
    bucket.gather_started = false;
  }
  bucket.reduce.when_done(thread_.waker());
  bucket.computed =
      start_when_there(*device_, bucket.wire_gradients, bucket.gradients, device_->record_event(), bucket.reduce);
  bucket.gather_worked_in = false;
  thread_.deliver(index, step_, update_);
  if (--buckets_left_ == 0) in_step_ = false;
  const std::scoped_lock lock(order_mutex_);
  --sums_to_start_;
  start_gathers_in_order();
}

bool ReplicatedStore::reduced(std::size_t index) const {
  return buckets_[index].reduce.done() && (!layout_.buckets()[index].table || rows_->there());
}

/// Waits for the bucket's sum.
void ReplicatedStore::finish_reduce(std::size_t index) {
  BucketState& bucket = buckets_[index];
  device_->wait_event(bucket.computed);
  bucket.reduce.wait();
  trace_transfer(trace_, "reduce-scatter", index, bucket.reduce);
  if (layout_.buckets()[index].table) rows_->add_arrived(owned_rows(bucket.wire_gradients));
  if (bucket.copies)
    copy_aside(shard_of(bucket.gradients, bucket.shard), shard_of(bucket.wire_gradients, bucket.shard));
}

double ReplicatedStore::mean_squared_norm(std::size_t index, const Update& update) {
  const BucketState& bucket = buckets_[index];
  const at::Tensor mean = shard_of(bucket.gradients, bucket.shard).mul_(1.0 / update.sum_over_mean());
  const double norm = mean.numel() == 0 ? 0 : at::linalg_vector_norm(mean, 2).item<double>();
  return norm * norm;
}

void ReplicatedStore::update(std::size_t index, const Update& update, double scale) {
  BucketState& bucket = buckets_[index];
  const at::Tensor gradient = shard_of(bucket.gradients, bucket.shard);
  const bool rounds = bucket.changes.defined();
  update_shard(bucket.shard, gradient, layout_.buckets()[index].runs, options_.adamw, update, scale,
               rounds ? at::Tensor() : bucket.values);
  if (rounds) round_changes(bucket);
  if (bucket.copies)
    copy_aside(shard_of(bucket.wire_parameters, bucket.shard), shard_of(gathered(bucket), bucket.shard));
  device_->record_event().wait();
}

void ReplicatedStore::round_changes(const BucketState& bucket) {
  const at::Tensor& master = bucket.shard.master;
  const at::Tensor values = shard_of(bucket.values, bucket.shard), changes = shard_of(bucket.changes, bucket.shard);
  if (!master.is_cpu()) {
    changes.copy_(master - values);
    return;
  }
  round_difference_to_bf16(master.const_data_ptr<float>(), values.const_data_ptr<float>(),
                           static_cast<Bf16*>(changes.mutable_data_ptr()), master.numel());
}

void ReplicatedStore::send_parameters(std::size_t index) {
  // Rows looked up would wait behind the table on the wire, and the next forward for them.
  if (layout_.buckets()[index].table) return;
  const std::scoped_lock lock(order_mutex_);
  gathers_to_start_.push_back(index);
  start_gathers_in_order();
}

/// Between devices, sums and gathers must begin in the same order on all ranks, whichever of two threads is quicker: a
/// step's gathers follow all of its sums. With the lock.
void ReplicatedStore::start_gathers_in_order() {
  if (communicator_.moves_device_memory() && sums_to_start_ > 0) return;
  for (const std::size_t index : gathers_to_start_) buckets_[index].gather.start();
  gathers_to_start_.clear();
}

/// Also where buckets travel over other communicators than that of all ranks.
void ReplicatedStore::abandon() noexcept {
  for (const std::size_t index : held_) buckets_[index].group->abandon();
}

void ReplicatedStore::synchronize() {
  if (in_step_) throw std::logic_error("synchronize within a step");
  for (const std::size_t index : held_) wait_for_bucket(index);
  thread_.wait_empty_step();
  if (rows_) rows_->set_whole();
}

std::int64_t ReplicatedStore::host_bytes() const {
  std::int64_t bytes = wire_memory_.bytes();
  for (const std::size_t index : held_) bytes += device_->has_own_memory() ? buckets_[index].scratch.numel() : 0;
  return bytes;
}

void ReplicatedStore::take_values(const model::BlockValues& source) {
  const c10::NoGradGuard no_grad;
  layout_.take_values(source, [&](std::size_t index, const model::Values& values) {
    BucketState& bucket = buckets_[index];
    if (bucket.group == nullptr) return;
    const at::Tensor arena = at::zeros({bucket.values.numel()}, master_type(options_.strategy.precision));
    layout_.copy_from_values(arena, index, values);
    bucket.values.copy_(arena);
    reset_shard(bucket.shard, arena);
  });
  if (rows_) rows_->set_whole();
}

void ReplicatedStore::gather_each(const TakeValue& take) {
  const c10::NoGradGuard no_grad;
  const HostMemoryScope host;
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    const BucketState& bucket = buckets_[index];
    const at::Tensor whole =
        bucket.group != nullptr ? gather_master(*bucket.group, bucket.shard, bucket.shards)
                                : at::empty({layout_.buckets()[index].count}, master_type(options_.strategy.precision));
    if (options_.placement) {
      const int from = options_.placement->first_holder(layout_.buckets()[index].first_block);
      communicator_.broadcast(buffer_of(whole), from).wait();
    }
    layout_.take_each(take, index, whole);
  }
}

std::vector<StatePiece> ReplicatedStore::owned_state() {
  std::vector<StatePiece> pieces;
  for (const std::size_t index : held_) layout_.append_pieces(pieces, index, buckets_[index].shard);
  return pieces;
}

void ReplicatedStore::publish() {
  const c10::NoGradGuard no_grad;
  for (const std::size_t index : held_) {
    BucketState& bucket = buckets_[index];
    copy_master_to(bucket.values, bucket.shard);
    const at::Tensor whole = bucket.values.cpu();  // itself where the host computes
    bucket.group->all_gather(buffer_of(whole), bucket.shards).wait();
    if (device_->has_own_memory()) bucket.values.copy_(whole);
  }
  if (rows_) rows_->set_whole();
}

}  // namespace

std::unique_ptr<ParameterStore> make_replicated_store(const model::Model& model, comm::Communicator& communicator,
                                                      const StoreOptions& options, Trace* trace) {
  if (options.strategy.wire == Wire::bf16 && options.strategy.precision == Precision::fp64)
    throw std::invalid_argument("fp64 does not travel as bf16");
  if (options.strategy.wire == Wire::bf16 && options.strategy.precision == Precision::fp16)
    throw std::invalid_argument("fp16 parameters do not travel as bf16");
  if (options.placement && communicator.moves_device_memory())
    throw std::invalid_argument("blocks on some ranks only need a communicator that goes by way of the host");
  return std::make_unique<ReplicatedStore>(model, communicator, options, trace);
}

}  // namespace lshdp::parallel
