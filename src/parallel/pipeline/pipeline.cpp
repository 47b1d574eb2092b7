// Forwards and backwards of stages in a given order.
#include "lshdp/parallel/pipeline.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "layout/bucket_transfer.h"
#include "lshdp/core/clock.h"
#include "pipeline/stage_exchange.h"

namespace lshdp::parallel {
namespace {

using plan::StageWork;

// Receives that are posted before they are waited for: of what comes next while the one in hand is worked on.
constexpr std::size_t kAhead = 3;

bool is_forward(const StageWork& work) { return work.kind == StageWork::Kind::forward; }

std::vector<std::int64_t> begins_of(const std::vector<std::int64_t>& micro_batches) {
  std::vector<std::int64_t> begins(micro_batches.size());
  std::exclusive_scan(micro_batches.begin(), micro_batches.end(), begins.begin(), std::int64_t{0});
  return begins;
}

/// Stage after stage as long as another batch is to come: a rank with the first and the last stage takes the last one's
/// batches as many later as there are stages between them.
std::vector<StageWork> forwards_of(const std::vector<std::size_t>& stages, std::size_t batches) {
  std::vector<StageWork> order;
  if (stages.empty()) return order;
  const std::size_t delay = stages.back() - stages.front();
  for (std::size_t turn = 0; turn < batches + delay; ++turn) {
    for (const std::size_t stage : stages) {
      const std::size_t late = stage - stages.front();
      if (turn >= late && turn - late < batches)
        order.push_back({.kind = StageWork::Kind::forward, .stage = stage, .micro_batch = turn - late});
    }
  }
  return order;
}

}  // namespace

std::vector<BlockRange> ranges_of(const plan::Layout& layout, int rank) {
  std::vector<BlockRange> ranges;
  const std::optional<std::size_t> replica = plan::replica_of(layout, rank);
  if (!replica) return ranges;
  for (const std::size_t stage : plan::stages_of(layout.replicas[*replica], rank))
    ranges.push_back({layout.replicas[*replica].stages[stage].start, layout.replicas[*replica].stages[stage].end});
  return ranges;
}

Pipeline::Pipeline(const plan::Layout& layout, const model::Model& model, comm::Communicator& communicator,
                   BlockWalker& walker, const std::shared_ptr<ComputeDevice>& device, Precision precision, Trace* trace)
    : layout_(layout),
      model_(model),
      walker_(walker),
      rank_(communicator.rank()),
      type_(compute_type(precision)),
      trace_(trace),
      device_(device_or_host(device)),
      exchange_(std::make_unique<StageExchange>(communicator, *device_)) {
  const std::optional<std::size_t> replica = plan::replica_of(layout, rank_);
  if (!replica) return;
  replica_number_ = *replica;
  replica_ = &layout.replicas[*replica];
}

Pipeline::~Pipeline() = default;

double Pipeline::wait_seconds() const { return exchange_->wait_seconds(); }

const Pipeline::Order& Pipeline::order_of(const std::vector<std::int64_t>& micro_batches) {
  const auto [known, fresh] = orders_.try_emplace(micro_batches);
  if (fresh) known->second = plan::work_order(layout_, replica_number_, rank_, micro_batches);
  return known->second;
}

BlockRange Pipeline::range_of(std::size_t stage) const {
  return {replica_->stages[stage].start, replica_->stages[stage].end};
}

/// Whether another stage gives what the work begins with, and takes what comes of it.
bool Pipeline::arrives(const StageWork& work) const {
  return is_forward(work) ? work.stage > 0 : work.stage + 1 < stage_count();
}
bool Pipeline::leaves(const StageWork& work) const {
  return is_forward(work) ? work.stage + 1 < stage_count() : work.stage > 0;
}

/// The message that the work begins with: that which the stage before sends of its forward, or the next of its
/// backward.
StageMessage Pipeline::arriving(const StageWork& work) const {
  StageWork before = work;
  before.stage = is_forward(work) ? work.stage - 1 : work.stage + 1;
  return {static_cast<int>(replica_->stages[before.stage].rank), number_of(before)};
}

StageMessage Pipeline::leaving(const StageWork& work) const {
  const std::size_t next = is_forward(work) ? work.stage + 1 : work.stage - 1;
  return {static_cast<int>(replica_->stages[next].rank), number_of(work)};
}

/// Of what the work sends.
std::size_t Pipeline::number_of(const StageWork& work) const {
  return (work.micro_batch * stage_count() + work.stage) * 2 + (is_forward(work) ? 0 : 1);
}

/// Of one sample.
const std::vector<std::int64_t>& Pipeline::output_shape(std::size_t stage) {
  const std::size_t blocks = replica_->stages[stage].end;
  if (shapes_.size() < blocks) shapes_ = model::shapes_of(model_, blocks);
  return shapes_[blocks - 1].output;
}

void Pipeline::expect(const StageWork& work, std::int64_t samples) {
  // A gradient has the shape of what was given.
  std::vector<std::int64_t> shape = output_shape(is_forward(work) ? work.stage - 1 : work.stage);
  shape.insert(shape.begin(), samples);
  exchange_->expect(arriving(work), shape, type_);
}

/// Posts the receives of the next works that wait for another stage, as far as they are not.
void Pipeline::look_ahead(const Order& order, std::size_t done, const std::vector<std::int64_t>& samples,
                          std::size_t& posted) {
  std::size_t open = 0;
  for (std::size_t at = done; at < posted; ++at) open += arrives(order[at]) ? 1 : 0;
  for (; posted < order.size() && open < kAhead; ++posted) {
    if (!arrives(order[posted])) continue;
    expect(order[posted], samples[order[posted].micro_batch]);
    ++open;
  }
}

at::Tensor Pipeline::receive(const StageWork& work) {
  const double begun = now_seconds();
  const at::Tensor tensor = exchange_->receive(arriving(work));
  if (trace_ != nullptr && trace_->enabled())
    trace_->record(
        fmt::format("{} of micro-batch {}", is_forward(work) ? "activations" : "gradients", work.micro_batch), "wait",
        begun, now_seconds());
  return tensor;
}

double Pipeline::train_step(const Update& update, const at::Tensor& input, const at::Tensor& target,
                            const std::vector<std::int64_t>& micro_batches, std::int64_t first_sample,
                            const at::Tensor& positions) {
  walker_.begin_step(update, std::ssize(micro_batches), input);
  if (replica_ == nullptr || micro_batches.empty()) return 0;
  const Order& order = order_of(micro_batches);
  const std::vector<std::int64_t> begins = begins_of(micro_batches);
  const auto part = [&](const at::Tensor& whole, std::size_t micro_batch) {
    return whole.narrow(0, begins[micro_batch], micro_batches[micro_batch]);
  };
  std::map<std::pair<std::size_t, std::size_t>, Activations> held;  // by stage and micro-batch
  double loss = 0;
  std::size_t posted = 0;
  for (std::size_t done = 0; done < order.size(); ++done) {
    const StageWork& work = order[done];
    look_ahead(order, done, micro_batches, posted);
    const std::pair key(work.stage, work.micro_batch);
    if (is_forward(work)) {
      const at::Tensor given = arrives(work) ? receive(work) : part(input, work.micro_batch);
      const std::int64_t first = first_sample + begins[work.micro_batch];
      const at::Tensor documents = model::part_of(positions, begins[work.micro_batch], micro_batches[work.micro_batch]);
      const auto kept = held.emplace(key, walker_.forward_pass(range_of(work.stage), given, first, documents)).first;
      if (leaves(work)) exchange_->send(leaving(work), kept->second.take_output());
      continue;
    }
    const at::Tensor given = arrives(work) ? receive(work) : part(target, work.micro_batch);
    const bool last = work.micro_batch + 1 == micro_batches.size();
    const BackwardResult result = walker_.backward_pass(std::move(held.extract(key).mapped()), given, last);
    loss += result.loss;
    if (leaves(work)) exchange_->send(leaving(work), result.input_gradient);
  }
  return loss;
}

Evaluation Pipeline::evaluate(const std::vector<std::int64_t>& sizes, const std::function<StageBatch()>& next) {
  Evaluation sum;
  if (replica_ == nullptr) return sum;
  const Order order = forwards_of(plan::stages_of(*replica_, rank_), sizes.size());
  std::map<std::size_t, StageBatch> batches;  // that a stage of this rank still needs
  std::size_t posted = 0, taken = 0;
  for (std::size_t done = 0; done < order.size(); ++done) {
    const StageWork& work = order[done];
    look_ahead(order, done, sizes, posted);
    for (; taken <= work.micro_batch; ++taken) batches[taken] = next();
    const at::Tensor given = arrives(work) ? receive(work) : batches[work.micro_batch].input;
    const at::Tensor output = walker_.forward(range_of(work.stage), given, batches[work.micro_batch].positions);
    if (leaves(work)) {
      exchange_->send(leaving(work), output);
      continue;
    }
    const Evaluation part = walker_.judge(output, batches[work.micro_batch].target);
    sum.loss += part.loss;
    sum.correct += part.correct;
    sum.terms += part.terms;
    batches.erase(work.micro_batch);
  }
  return sum;
}

/// Activations of some positions of one sequence.
at::Tensor Pipeline::receive_positions(const StageWork& work, std::int64_t positions) {
  std::vector<std::int64_t> shape = output_shape(work.stage - 1);
  shape.front() = positions;
  shape.insert(shape.begin(), 1);
  exchange_->expect(arriving(work), shape, type_);
  return receive(work);
}

at::Tensor Pipeline::forward_next(const at::Tensor& tokens, std::span<model::BlockCache> caches) {
  at::Tensor logits;
  if (replica_ == nullptr) return logits;
  for (const std::size_t stage : plan::stages_of(*replica_, rank_)) {
    const StageWork work{.kind = StageWork::Kind::forward, .stage = stage, .micro_batch = 0};
    const at::Tensor given = arrives(work) ? receive_positions(work, tokens.size(1)) : tokens;
    const at::Tensor output = walker_.forward_next(range_of(stage), given, caches);
    if (leaves(work))
      exchange_->send(leaving(work), output);
    else
      logits = output;
  }
  return logits;
}

}  // namespace lshdp::parallel
