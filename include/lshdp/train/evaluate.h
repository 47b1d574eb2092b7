// Evaluation split over ranks, with totals that are totals.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "lshdp/comm/communicator.h"
#include "lshdp/data/dataset.h"
#include "lshdp/data/loader.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/train/metrics.h"

namespace lshdp::train {

/// Loss and accuracy over every sample of `dataset`, each once: rank r takes a run of samples in proportion to
/// weights[r] (one per rank, not all 0) in batches of at most `micro_batch`. The same result on every rank; `step` is
/// copied into it. All ranks must call it, with a synchronized store. Throws UsageError where the data set cannot be
/// read.
EvaluationRecord evaluate(comm::Communicator& communicator, const model::Model& model, parallel::BlockWalker& walker,
                          data::Dataset& dataset, const data::Preparation& preparation,
                          std::span<const std::int64_t> weights, std::int64_t micro_batch, std::int64_t step);

/// The same by ranks that hold stages of the model: those with the same `data_rank` (none: left out) take that rank's
/// run of samples together.
EvaluationRecord evaluate(comm::Communicator& communicator, const model::Model& model, parallel::Pipeline& pipeline,
                          std::optional<int> data_rank, data::Dataset& dataset, const data::Preparation& preparation,
                          std::span<const std::int64_t> weights, std::int64_t micro_batch, std::int64_t step);

/// Throws an AgreedError with exit code 1 if the loss of `record` is not finite: its accuracy then means nothing. All
/// ranks have the same record.
void require_finite_loss(const EvaluationRecord& record);

/// Opens `path` for `model` and checks that they fit: images with the model's channels and at most its classes (flat:
/// its input size), tokens with at most its vocabulary. Throws UsageError naming the file and what does not fit.
std::unique_ptr<data::Dataset> open_for_model(const std::filesystem::path& path, const model::Model& model,
                                              data::Windows windows = data::Windows::fixed);

/// Logs a line if the images of this file are resized as they are read.
void say_how_images_fit(const std::filesystem::path& path, const data::DatasetInfo& info, const model::Model& model);

/// How the samples of a data set become the model's input: resized to its image size, or as they are.
data::Preparation preparation_for(const model::Model& model, const data::Augmentation& augmentation);

}  // namespace lshdp::train
