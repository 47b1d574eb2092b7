// RUN/tensorboard: what TensorBoard shows of a run while it trains.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "event_file.h"
#include "lshdp/train/metrics.h"

namespace lshdp::train {

/// Where a run keeps its event files.
inline constexpr const char* kTensorBoardFolder = "tensorboard";

/// The figures of a step by tag: loss, rates, and compute and wait seconds of each rank.
std::vector<Scalar> scalars_of(const StepRecord& step);
std::vector<Scalar> scalars_of(const EvaluationRecord& evaluation);

/// Rank 0 has one. Each launch writes a file of its own, after which nothing is shown of the steps that it repeats.
class TensorBoard {
 public:
  /// `run`: of the launch that begins. Throws WriteError, as add() does.
  TensorBoard(const std::filesystem::path& results, const RunRecord& run)
      : file_(results / kTensorBoardFolder, run.resumed_after + 1) {}
  void add(const StepRecord& step) { file_.add(step.step, scalars_of(step)); }
  void add(const EvaluationRecord& evaluation) { file_.add(evaluation.step, scalars_of(evaluation)); }

 private:
  EventFile file_;
};

}  // namespace lshdp::train
