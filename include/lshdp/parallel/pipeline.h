// Pipeline: one rank's part in steps of a model whose blocks are cut into stages over ranks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "lshdp/core/trace.h"
#include "lshdp/model/model.h"
#include "lshdp/model/shapes.h"
#include "lshdp/parallel/precision.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/stage_schedule.h"

namespace lshdp::parallel {

class StageExchange;
struct StageMessage;

/// The blocks of `rank`, a range for each of its stages, in their order.
std::vector<BlockRange> ranges_of(const plan::Layout& layout, int rank);

/// Where the batches of an evaluation come from: the next one of this rank's replica.
struct StageBatch {
  at::Tensor input, target;
  at::Tensor positions = {};  // all stages need them, where samples hold several documents
};

/// Carries out this rank's work of a step in the order of plan::work_order: the walker runs the blocks of a stage, and
/// activations and their gradients go straight to the rank of the next stage. Receives are posted before they are
/// waited for, and nothing waits for a send. All ranks of the layout must make the same calls.
class Pipeline {
 public:
  /// `communicator`: of all ranks, those left out included. What is given must outlive it; `walker` is over a store
  /// whose Placement is that of `layout`, with ranges_of() as its ranges. `trace` may be null.
  Pipeline(const plan::Layout& layout, const model::Model& model, comm::Communicator& communicator, BlockWalker& walker,
           const std::shared_ptr<ComputeDevice>& device, Precision precision, Trace* trace = nullptr);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  /// One step. `input`, `target`: the samples [S, ...] of this rank's replica; the first stage reads the one and the
  /// last the other, others need neither; undefined if S is 0. `micro_batches`: their sizes, which add up to S, the
  /// same on all ranks of the replica. `first_sample` and `positions`, which all stages need where samples hold several
  /// documents: see BlockWalker::train_step(). Returns the summed loss on the rank of the last stage, 0 elsewhere.
  double train_step(const Update& update, const at::Tensor& input, const at::Tensor& target,
                    const std::vector<std::int64_t>& micro_batches, std::int64_t first_sample = 0,
                    const at::Tensor& positions = {});

  /// Forward passes of as many batches as there are `sizes` (samples each, the same on all ranks of the replica),
  /// taken from `next` one after the other; the sums stand on the rank of the last stage.
  Evaluation evaluate(const std::vector<std::int64_t>& sizes, const std::function<StageBatch()>& next);

  /// For generation, in a layout of one replica: BlockWalker::forward_next() of all stages. `tokens`: [1, T], the same
  /// on all ranks; `caches`: one a block of the model. Returns the logits on the rank of the last stage, undefined
  /// elsewhere.
  at::Tensor forward_next(const at::Tensor& tokens, std::span<model::BlockCache> caches);

  /// Seconds that this rank has waited for other stages so far.
  double wait_seconds() const;

 private:
  using Order = std::vector<plan::StageWork>;

  const Order& order_of(const std::vector<std::int64_t>& micro_batches);
  std::size_t stage_count() const { return replica_->stages.size(); }
  BlockRange range_of(std::size_t stage) const;
  bool arrives(const plan::StageWork& work) const;
  bool leaves(const plan::StageWork& work) const;
  StageMessage arriving(const plan::StageWork& work) const;
  StageMessage leaving(const plan::StageWork& work) const;
  std::size_t number_of(const plan::StageWork& work) const;
  const std::vector<std::int64_t>& output_shape(std::size_t stage);
  void expect(const plan::StageWork& work, std::int64_t samples);
  at::Tensor receive_positions(const plan::StageWork& work, std::int64_t positions);
  void look_ahead(const Order& order, std::size_t done, const std::vector<std::int64_t>& samples, std::size_t& posted);
  at::Tensor receive(const plan::StageWork& work);

  const plan::Layout& layout_;
  const model::Model& model_;
  BlockWalker& walker_;
  int rank_;
  at::ScalarType type_;  // of what goes between stages
  Trace* trace_;
  std::size_t replica_number_ = 0;
  const plan::Replica* replica_ = nullptr;  // null: this rank is left out
  std::shared_ptr<ComputeDevice> device_;
  std::unique_ptr<StageExchange> exchange_;
  std::map<std::vector<std::int64_t>, Order> orders_;  // by micro-batches
  std::vector<model::BlockShapes> shapes_;             // by block; as far as this rank sends and receives
};

}  // namespace lshdp::parallel
