// What a run reports: metrics.jsonl line by line, and summary.json at its end.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/core/file.h"
#include "lshdp/plan/plan.h"

namespace lshdp::train {

/// One rank of the run, as far as it does not change from step to step.
struct RankInfo {
  int rank = 0;
  std::string host;
  std::int64_t batch = 0;
  std::int64_t max_batch = 0;     // 0: not probed
  double speed = 1;               // of --emulate-speed
  std::string device = "cpu";     // or "cuda:0", ...
  std::int64_t memory_bytes = 0;  // budget of its tensors; 0: not known
  double peak_flops = 0;          // floating-point operations a second of its device at most; 0: not known
};

/// A launch of the run: the first line of metrics.jsonl, and again where the run was resumed.
struct RunRecord {
  std::string model;
  plan::Strategy strategy;
  std::int64_t total = 0;  // samples a step
  std::vector<RankInfo> ranks;
  std::optional<plan::Prediction> predicted;
  std::int64_t tokens_per_sample = 0;  // 0: samples are no text
  std::int64_t resumed_after = 0;      // steps done by earlier launches
  std::string time = {};               // when it began, as utc_time_text() says it
  std::int64_t last_step = 0;          // of the run, counted from 1; 0: not known
  double flops_per_sample = 0;         // of forward and backward; 0: not known
};

/// One step. Vectors are by rank; seconds of the step's wall time, which overlap each other.
struct StepRecord {
  std::int64_t step = 0;  // counted from 1
  std::int64_t epoch = 0;
  double loss = 0;  // mean over the global batch
  double learning_rate = 0;
  double gradient_norm = 0;  // global, of the mean gradient before clipping
  std::int64_t samples = 0;
  double step_seconds = 0;
  std::vector<std::int64_t> batches;                   // of a whole step; fewer samples at the end of an epoch
  std::vector<double> compute_seconds;                 // forward, backward and update
  std::vector<double> communication_seconds;           // something was on its way
  std::vector<double> wait_seconds;                    // the rank stood still for parameters or data
  std::vector<double> cpu_seconds;                     // CPU time of the rank's process
  std::vector<double> communication_cpu_seconds;       // of it, the engine thread's
  std::vector<double> rank_seconds = {};               // the step by each rank's own clock
  std::optional<double> loss_scale = {};               // fp16
  bool skipped = false;                                // fp16: gradients overflowed, and no rank updated anything
  std::string time = {};                               // when rank 0 had computed it
  std::vector<std::int64_t> bytes_sent = {};           // to other ranks; empty: not known, as the next one
  std::vector<std::int64_t> peak_tensor_bytes = {};    // the most that its tensors took since the launch
  std::int64_t tokens = 0;                             // of text
  std::optional<double> model_flops_utilization = {};  // where the peaks of all devices are known
};

struct EvaluationRecord {
  std::int64_t step = 0;
  double loss = 0;                 // mean over the data set
  std::optional<double> accuracy;  // share of right predictions; none for tokens
  std::int64_t samples = 0;
  std::optional<double> average_loss = {}, average_accuracy = {};  // of the moving average of the weights
};

/// The split changed. Vectors are by rank.
struct RebalanceRecord {
  std::int64_t step = 0;  // the first with the new batches
  std::vector<std::int64_t> batches_before, batches;
  std::vector<double> slowness_before, slowness;  // times as long as profiled; 1 at first
  double step_seconds = 0;                        // measured before
  double expected_step_seconds = 0;               // from now on
  bool profiled = true;                           // false: slowness is against the first steps
  // Of a pipeline that is cut anew, the block that each stage ends before; else empty.
  std::vector<std::int64_t> cuts_before = {}, cuts = {};
  std::int64_t moved_bytes = 0;  // from rank to rank
  double move_seconds = 0;       // that training stood still for it
};

/// The share of what the devices of all ranks could do that the model's operations came to, whatever the ranks computed
/// twice (recomputation). None where the peak of a device or the operations are not known.
std::optional<double> model_flops_utilization(const RunRecord& run, const StepRecord& step);

nlohmann::json to_json(const RunRecord& record);
nlohmann::json to_json(const StepRecord& record);
nlohmann::json to_json(const EvaluationRecord& record);
nlohmann::json to_json(const RebalanceRecord& record);

/// Sums over steps: what is kept of them must not grow with a run of months, but for four bytes a step.
struct StepTotals {
  std::int64_t count = 0, samples = 0;
  double step_seconds = 0;
  std::vector<double> compute_seconds, communication_seconds, wait_seconds, cpu_seconds,
      communication_cpu_seconds;         // by rank
  std::vector<float> each_step_seconds;  // for their median

  void add(const StepRecord& step);
};

/// Collects records and writes them as they come. Rank 0 has one.
class MetricsWriter {
 public:
  /// `folder`: the run directory; empty: collect only. Where `run` was resumed, metrics.jsonl is continued, and its
  /// records of later steps are dropped. Throws an Error if the file cannot be written.
  MetricsWriter(const std::filesystem::path& folder, RunRecord run);
  void add(const StepRecord& record);
  void add(const EvaluationRecord& record);
  void add(const RebalanceRecord& record);
  /// Medians and means over the steps of this launch, without the first ones (warm-up), beside the prediction.
  /// `finished`: the run came to its last step.
  nlohmann::json summary(double seconds, bool finished) const;

 private:
  void write(const nlohmann::json& line);
  StepTotals timed() const;

  RunRecord run_;
  std::vector<StepRecord> first_;  // as many as may belong to the warm-up
  StepTotals later_;
  std::int64_t last_step_, samples_ = 0, skipped_steps_ = 0;
  std::optional<double> last_loss_;
  std::vector<RebalanceRecord> rebalances_;
  std::optional<EvaluationRecord> evaluation_;
  std::optional<LineWriter> file_;
};

/// The part of `steps` that timing figures are taken from: without the first tenth, at most 10, as long as something is
/// left.
std::vector<StepRecord> without_warm_up(const std::vector<StepRecord>& steps);

}  // namespace lshdp::train
