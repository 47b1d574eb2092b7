// The locally sharded store: what a rank does with the node's memory, its device slots and its threads.
#include "lsdp/locally_sharded_store.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "layout/block_layout.h"
#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lsdp/device_slots.h"
#include "lsdp/gradient_queue.h"
#include "lsdp/locally_sharded_sizes.h"
#include "lsdp/node_buckets.h"
#include "lsdp/node_exchange.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/node.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/memory.h"
#include "optimizer/sharded_adamw.h"
#include "optimizer/update_thread.h"

namespace lshdp::parallel {
namespace {

comm::NodeMap node_map(comm::Communicator& communicator, const StoreOptions& options) {
  if (options.node_names.empty()) return comm::map_nodes(comm::all_gather_hosts(communicator));
  if (options.node_names.size() != static_cast<std::size_t>(communicator.size()))
    throw std::invalid_argument("node_names: one name per rank is wanted");
  return comm::map_nodes(options.node_names);
}

class LocallyShardedStore final : public ParameterStore, private BucketWork {
 public:
  LocallyShardedStore(const model::Model& model, comm::Communicator& communicator, const StoreOptions& options,
                      Trace* trace);
  ~LocallyShardedStore() override;

  void begin_step(const Update& update) override;
  void acquire(std::size_t block) override;
  std::span<const at::Tensor> parameters(std::size_t block) const override { return parameters_[block]; }
  void release(std::size_t block) override { slots_.release(block); }
  void add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) override;
  void synchronize() override;
  double backward_scale() const override { return thread_.backward_scale(update_); }
  LossScale loss_scale() const override { return thread_.loss_scale(); }
  void set_loss_scale(const LossScale& state) override { thread_.set_loss_scale(state); }
  StepReport report_of(std::int64_t step) const override { return thread_.report_of(step); }
  StoreUsage usage() const override {
    return {.wait_seconds = wait_seconds_,
            .update_seconds = thread_.update_seconds(),
            .host_link = slots_.copied(),
            .host_bytes = host_bytes()};
  }
  void take_values(const model::BlockValues& source) override;
  void gather_each(const TakeValue& take) override;
  std::vector<StatePiece> owned_state() override;
  void observe_state(std::shared_ptr<StateObserver> observer) override { thread_.observe_state(std::move(observer)); }
  void publish() override;

 private:
  std::int64_t host_bytes() const;
  std::vector<Cut> make_cuts() const;
  void make_shards();
  void make_leaves();
  std::unique_ptr<NodeExchange> make_exchange();
  std::function<void(std::exception_ptr)> on_error();
  bool leads() const { return map_.leads(communicator_.rank()); }
  bool master_is_shared() const {
    return master_type(options_.strategy.precision) == compute_type(options_.strategy.precision);
  }
  at::Tensor gather_master(std::size_t index);
  void values_changed();
  void fail(std::exception_ptr error) noexcept;
  void rethrow_error();
  template <typename Function>
  void guarded(const Function& function);
  template <typename Function>
  void waiting(const Function& function);

  // On the thread that takes gradients off the device.
  void add_to_node(const BlockGradients& gradients);
  void accumulate(const SlotPlace& place, const at::Tensor& gradient, std::int64_t step);
  at::Tensor on_host(const at::Tensor& gradient);
  void contribute(std::size_t index, std::int64_t step);
  void hold(std::size_t index);
  void let_go(std::size_t index);

  // On the update thread.
  void finish_reduce(std::size_t index) override;
  double mean_squared_norm(std::size_t index, const Update& update) override;
  void update(std::size_t index, const Update& update, double scale) override;
  void send_parameters(std::size_t index) override;
  void thread_failed(std::exception_ptr error) noexcept override { fail(std::move(error)); }

  std::mutex error_mutex_;
  std::exception_ptr error_;  // of one of the threads, the first
  comm::Communicator& communicator_;
  StoreOptions options_;
  std::shared_ptr<ComputeDevice> device_;
  Trace* trace_;
  BlockLayout layout_;
  comm::NodeMap map_;
  std::vector<int> order_;  // ranks, node after node
  std::vector<Cut> cuts_;   // by bucket
  NodeBuckets node_;
  std::unique_ptr<HostArena> arena_;
  at::Tensor landing_;              // where a device apart leaves gradients that are to be added to others
  std::vector<ShardState> shards_;  // by bucket: this rank's part
  DeviceSlots slots_;
  std::vector<std::vector<at::Tensor>> parameters_;  // by block: its own, then those it borrows, as leaves
  Update update_;
  std::int64_t step_ = 0;
  bool in_step_ = false;
  std::vector<bool> acquired_;            // by block, in this step
  std::vector<std::size_t> blocks_left_;  // by bucket: without their last gradient of this step
  std::size_t buckets_left_ = 0;
  double wait_seconds_ = 0;
  std::vector<std::int64_t> delivered_;     // by bucket: the last step of which this rank has contributed
  std::unique_ptr<NodeExchange> exchange_;  // on the leader of a node
  GradientQueue queue_;
  UpdateThread thread_;
};

LocallyShardedStore::LocallyShardedStore(const model::Model& model, comm::Communicator& communicator,
                                         const StoreOptions& options, Trace* trace)
    : communicator_(communicator),
      options_(options),
      device_(device_or_host(options.device)),
      trace_(trace),
      layout_(model, min_count(options.bucket_bytes, options.strategy.precision)),
      map_(node_map(communicator, options)),
      order_(map_.in_node_order()),
      cuts_(make_cuts()),
      node_(communicator, map_, layout_, options.strategy.precision, *device_),
      slots_(node_, layout_, resident_buckets(layout_, model.blocks.size(), options.strategy.resident.value_or(0)),
             *device_, trace, on_error()),
      parameters_(model.blocks.size()),
      acquired_(model.blocks.size()),
      blocks_left_(node_.size()),
      delivered_(node_.size()),
      exchange_(make_exchange()),
      queue_(
          *device_, [this](const BlockGradients& gradients) { add_to_node(gradients); }, on_error()),
      thread_(*this, node_.size(), communicator, *device_, static_cast<int>(2 * node_.size()), trace,
              make_loss_scaler(options.strategy.precision, options.loss_scaling)) {
  make_shards();
  make_leaves();
}

LocallyShardedStore::~LocallyShardedStore() {
  // A step that was left half way (an error) would never end: other ranks may be gone.
  bool finished = !in_step_ && slots_.finished();
  try {
    for (std::size_t index = 0; finished && index < node_.size(); ++index) thread_.wait_updated(index);
  } catch (const std::exception&) {
    finished = false;
  }
  if (!finished) {
    node_.give_up();
    if (exchange_) exchange_->abandon();
  }
  queue_.stop();
  thread_.stop(!finished);
  if (exchange_) exchange_->stop();
  slots_.stop();
  synchronize_device(*device_);
}

std::vector<Cut> LocallyShardedStore::make_cuts() const {
  std::vector<Cut> cuts;
  for (const Bucket& bucket : layout_.buckets()) cuts.push_back(cut(bucket.count, map_, communicator_.size()));
  return cuts;
}

std::unique_ptr<NodeExchange> LocallyShardedStore::make_exchange() {
  if (!leads()) return nullptr;
  std::vector<comm::Shards> shards;
  for (const Cut& each : cuts_) shards.push_back(each.of_nodes);
  auto leaders = map_.nodes.size() == 1 ? comm::make_null_communicator(0, 1) : communicator_.subgroup(map_.leaders());
  return std::make_unique<NodeExchange>(node_, std::move(leaders), std::move(shards), trace_, on_error());
}

std::int64_t LocallyShardedStore::host_bytes() const {
  return arena_->bytes() + (exchange_ ? node_.bytes() + exchange_->scratch_bytes() : 0);
}

std::function<void(std::exception_ptr)> LocallyShardedStore::on_error() {
  return [this](std::exception_ptr error) { fail(std::move(error)); };
}

void LocallyShardedStore::make_shards() {
  const at::ScalarType master = master_type(options_.strategy.precision);
  const auto place = std::ranges::find(order_, communicator_.rank()) - order_.begin();
  const auto own = [&](std::size_t index) { return cuts_[index].of_ranks.count(static_cast<int>(place)); };
  const int tensors = master_is_shared() ? 2 : 3;
  std::int64_t bytes = 0;
  for (std::size_t index = 0; index < node_.size(); ++index) bytes += tensors * HostArena::bytes_of(own(index), master);
  const at::ScalarType computed = compute_type(options_.strategy.precision);
  const std::int64_t landing = landing_count(layout_, *device_);
  arena_ = std::make_unique<HostArena>(bytes + HostArena::bytes_of(landing, computed), *device_);
  landing_ = arena_->take(landing, computed);
  for (std::size_t index = 0; index < node_.size(); ++index) {
    const std::int64_t begin = cuts_[index].of_ranks.begin(static_cast<int>(place));
    const at::Tensor values =
        master_is_shared() ? node_.values(index).narrow(0, begin, own(index)) : arena_->take(own(index), master);
    shards_.push_back({begin, values, arena_->take(own(index), master), arena_->take(own(index), master)});
  }
}

void LocallyShardedStore::make_leaves() {
  for (std::size_t block = 0; block < parameters_.size(); ++block) {
    for (const SlotPlace& place : layout_.places(block))
      parameters_[block].push_back(layout_.leaf(slots_.values(place.bucket), place));
  }
}

void LocallyShardedStore::fail(std::exception_ptr error) noexcept {
  {
    const std::scoped_lock lock(error_mutex_);
    if (!error_) error_ = std::move(error);
  }
  node_.give_up();
}

void LocallyShardedStore::rethrow_error() {
  const std::scoped_lock lock(error_mutex_);
  if (error_) std::rethrow_exception(error_);
}

/// Where a thread has failed, its error is what the caller hears.
template <typename Function>
void LocallyShardedStore::guarded(const Function& function) {
  try {
    function();
  } catch (const std::exception&) {
    rethrow_error();
    throw;
  }
  rethrow_error();
}

/// The same, and counts as waiting.
template <typename Function>
void LocallyShardedStore::waiting(const Function& function) {
  const double begun = now_seconds();
  guarded(function);
  wait_seconds_ += now_seconds() - begun;
}

void LocallyShardedStore::begin_step(const Update& update) {
  if (in_step_) throw std::logic_error("begin_step before the last gradients of the step before");
  rethrow_error();
  update_ = update;
  ++step_;
  in_step_ = true;
  buckets_left_ = node_.size();
  acquired_.assign(acquired_.size(), false);
  for (std::size_t index = 0; index < node_.size(); ++index)
    blocks_left_[index] = layout_.buckets()[index].last_block - layout_.buckets()[index].first_block + 1;
  if (exchange_) exchange_->begin_step(step_);
}

void LocallyShardedStore::acquire(std::size_t block) {
  waiting([&] { slots_.acquire(block, in_step_); });
  acquired_[block] = true;
}

void LocallyShardedStore::synchronize() {
  if (in_step_) throw std::logic_error("synchronize within a step");
  waiting([&] { slots_.wait_for_all_versions(); });
}

void LocallyShardedStore::add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) {
  if (!in_step_ || !acquired_[block]) throw std::logic_error("add_gradient before acquire");
  const std::size_t index = layout_.bucket_of(block);
  const bool completes = last && --blocks_left_[index] == 0;
  if (completes) {
    slots_.expect_change(index);
    if (--buckets_left_ == 0) in_step_ = false;
  }
  if (gradients.empty() && !completes) return;
  guarded([&] {
    queue_.push({block, {gradients.begin(), gradients.end()}, device_->record_event(), step_, completes, update_});
  });
}

void LocallyShardedStore::add_to_node(const BlockGradients& gradients) {
  const double begun = now_seconds();
  const std::span<const SlotPlace> places = layout_.places(gradients.block);
  for (std::size_t i = 0; i < gradients.gradients.size(); ++i) {
    if (i == 0 || places[i].bucket != places[i - 1].bucket) hold(places[i].bucket);
    accumulate(places[i], gradients.gradients[i], gradients.step);
    const bool more = i + 1 < gradients.gradients.size() && places[i + 1].bucket == places[i].bucket;
    if (more) continue;
    device_->record_event().wait();
    let_go(places[i].bucket);
  }
  if (trace_ != nullptr && trace_->enabled() && !gradients.gradients.empty())
    trace_->record(fmt::format("gradients of block {}", gradients.block), "copy out", begun, now_seconds());
  if (!gradients.completes_bucket) return;
  const std::size_t index = layout_.bucket_of(gradients.block);
  delivered_[index] = gradients.step;
  contribute(index, gradients.step);
  thread_.deliver(index, gradients.step, gradients.update);
}

void LocallyShardedStore::accumulate(const SlotPlace& place, const at::Tensor& gradient, std::int64_t step) {
  std::int64_t& touched = node_.touched(place.bucket)[place.slot];
  const at::Tensor sum = layout_.view(node_.gradients(place.bucket), place);
  if (std::exchange(touched, step) == step)
    sum.add_(on_host(gradient));
  else
    copy_aside(sum, gradient);
}

/// Of the type that it is summed in, in memory that the next call uses again.
at::Tensor LocallyShardedStore::on_host(const at::Tensor& gradient) {
  if (!device_->has_own_memory()) return gradient;
  const at::Tensor place = landing_.narrow(0, 0, gradient.numel()).view(gradient.sizes());
  copy_aside(place, gradient);
  device_->record_event().wait();
  return place;
}

/// This rank adds nothing more to the bucket. The last one of the node sees to what nobody has written.
void LocallyShardedStore::contribute(std::size_t index, std::int64_t step) {
  hold(index);
  BucketProgress& progress = node_.progress(index);
  if (progress.contributions + 1 == step * node_.local_size()) {
    const std::span<std::int64_t> touched = node_.touched(index);
    for (std::size_t slot = 0; slot < touched.size(); ++slot) {
      if (touched[slot] != step) layout_.view(node_.gradients(index), {index, slot}).zero_();
    }
  }
  {
    const NodeBuckets::Lock lock = node_.lock();
    ++progress.contributions;
  }
  let_go(index);
}

void LocallyShardedStore::hold(std::size_t index) {
  const NodeBuckets::Lock lock = node_.lock();
  bool& adding = node_.progress(index).adding;
  node_.wait([&] { return !adding; });
  adding = true;
}

void LocallyShardedStore::let_go(std::size_t index) {
  const NodeBuckets::Lock lock = node_.lock();
  node_.progress(index).adding = false;
  node_.ring();
}

void LocallyShardedStore::finish_reduce(std::size_t index) {
  const std::int64_t step = delivered_[index];
  if (exchange_) return exchange_->finish_reduce(index, step);
  const NodeBuckets::Lock lock = node_.lock();
  node_.wait([&] { return node_.progress(index).reduced >= step; });
}

/// The mean is made where it is used, in the pass that updates: here only its norm.
double LocallyShardedStore::mean_squared_norm(std::size_t index, const Update& update) {
  const at::Tensor sum = shard_of(node_.gradients(index), shards_[index]);
  if (sum.numel() == 0) return 0;
  const double norm = at::linalg_vector_norm(sum, 2).item<double>() / update.sum_over_mean();
  return norm * norm;
}

void LocallyShardedStore::update(std::size_t index, const Update& update, double scale) {
  update_shard(shards_[index], shard_of(node_.gradients(index), shards_[index]), layout_.buckets()[index].runs,
               options_.adamw, update, scale / update.sum_over_mean(), node_.values(index));
}

void LocallyShardedStore::send_parameters(std::size_t index) {
  const NodeBuckets::Lock lock = node_.lock();
  ++node_.progress(index).updates;
  node_.ring();
}

/// The node's memory holds new values of every bucket, or will when its leader has come this far.
void LocallyShardedStore::values_changed() {
  for (std::size_t index = 0; index < node_.size(); ++index) slots_.expect_change(index);
  if (!leads()) return;
  const NodeBuckets::Lock lock = node_.lock();
  for (std::size_t index = 0; index < node_.size(); ++index) ++node_.progress(index).version;
  node_.ring();
}

void LocallyShardedStore::take_values(const model::BlockValues& source) {
  const c10::NoGradGuard no_grad;
  layout_.take_values(source, [&](std::size_t index, const model::Values& values) {
    if (leads()) layout_.copy_from_values(node_.values(index), index, values);
    std::vector<StatePiece> pieces;
    layout_.append_pieces(pieces, index, shards_[index]);
    for (const StatePiece& piece : pieces) {
      if (!master_is_shared())
        piece.value.copy_(values[piece.block][piece.parameter].flatten().narrow(0, piece.begin, piece.value.numel()));
      piece.first_moment.zero_();
      piece.second_moment.zero_();
    }
  });
  values_changed();
  // The one that leads writes for all ranks of the node: before it has, another must not change its shard.
  waiting([&] { slots_.wait_for_all_versions(); });
}

/// The whole bucket's master weights, from all ranks.
at::Tensor LocallyShardedStore::gather_master(std::size_t index) {
  const comm::Shards& cut = cuts_[index].of_ranks;
  const at::Tensor& mine = shards_[index].master;
  const std::int64_t count = node_.values(index).numel(), bytes = HostArena::bytes_of(count, mine.scalar_type());
  HostArena memory(2 * bytes);
  // Gathered by rank, then put in the order of nodes.
  const at::Tensor by_rank = memory.take(count, mine.scalar_type()), whole = memory.take(count, mine.scalar_type());
  comm::Shards bounds{std::vector<std::int64_t>(order_.size() + 1, 0)};
  for (std::size_t place = 0; place < order_.size(); ++place)
    bounds.bounds[static_cast<std::size_t>(order_[place]) + 1] = cut.count(static_cast<int>(place));
  for (std::size_t rank = 0; rank < order_.size(); ++rank) bounds.bounds[rank + 1] += bounds.bounds[rank];
  by_rank.narrow(0, bounds.begin(communicator_.rank()), mine.numel()).copy_(mine);
  communicator_.all_gather(buffer_of(by_rank), bounds).wait();
  for (std::size_t place = 0; place < order_.size(); ++place) {
    const int at = static_cast<int>(place), rank = order_[place];
    whole.narrow(0, cut.begin(at), cut.count(at)).copy_(by_rank.narrow(0, bounds.begin(rank), bounds.count(rank)));
  }
  return whole;
}

void LocallyShardedStore::gather_each(const TakeValue& take) {
  const c10::NoGradGuard no_grad;
  const HostMemoryScope host;
  waiting([&] { slots_.wait_for_all_versions(); });
  for (std::size_t index = 0; index < node_.size(); ++index)
    layout_.take_each(take, index, master_is_shared() ? node_.values(index) : gather_master(index));
}

std::vector<StatePiece> LocallyShardedStore::owned_state() {
  std::vector<StatePiece> pieces;
  for (std::size_t index = 0; index < node_.size(); ++index) layout_.append_pieces(pieces, index, shards_[index]);
  return pieces;
}

void LocallyShardedStore::publish() {
  const c10::NoGradGuard no_grad;
  for (std::size_t index = 0; index < node_.size(); ++index) copy_master_to(node_.values(index), shards_[index]);
  communicator_.barrier();  // all ranks of the node have written theirs
  for (std::size_t index = 0; exchange_ && index < node_.size(); ++index) exchange_->gather_now(index);
  values_changed();
  waiting([&] { slots_.wait_for_all_versions(); });
}

}  // namespace

std::unique_ptr<ParameterStore> make_locally_sharded_store(const model::Model& model, comm::Communicator& communicator,
                                                           const StoreOptions& options, Trace* trace) {
  return std::make_unique<LocallyShardedStore>(model, communicator, options, trace);
}

}  // namespace lshdp::parallel
