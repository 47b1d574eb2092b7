// RunData: the data sets of a run and who takes which samples.
#pragma once
#include <filesystem>
#include <memory>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/json.h"
#include "lshdp/data/dataset.h"
#include "lshdp/data/sampler.h"
#include "lshdp/model/model.h"
#include "lshdp/train/trainer.h"

namespace lshdp::train {

struct RunData {
  std::unique_ptr<data::Dataset> training;
  std::unique_ptr<data::Dataset> evaluation;  // null: none
  std::unique_ptr<data::HeterogeneousDistributedSampler> sampler;
  Json identity, evaluation_identity;  // with "path"; null: no such data set

  /// Terms of the loss in `step` over all ranks, the same on all of them; 1 where none of its tokens is trained: its
  /// loss and its gradients are then 0.
  std::int64_t global_terms(std::int64_t step) const;
  /// Steps of the run, as --steps or --epochs say. Throws UsageError where they cannot be counted.
  std::int64_t steps(const TrainOptions& options) const;
};

/// Opens what options.data and options.eval_data name and checks that model and options fit. All ranks must call it;
/// throws AgreedError.
RunData open_run_data(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options);

/// The identity of a data set and where it lies, by rank 0's word; null without a path. All ranks must call it.
Json identity_by_rank_0(comm::Communicator& communicator, const std::filesystem::path& path);

}  // namespace lshdp::train
