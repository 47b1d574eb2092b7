// One rank's computing as a profile holds it: curve, update, share of the cores; all ranks at the same time.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "dry_run.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/memory.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/profile.h"
#include "parts.h"

namespace lshdp::measure {

struct ComputeProfile {
  std::vector<plan::CurvePoint> curve;
  std::vector<plan::BlockTimes> block_times;
  std::vector<plan::BlockProfile> blocks;
  std::int64_t too_large = 0;  // the smallest batch that ran out of memory after all, 0 if none did
  double cores = 1;
  double update_seconds = 0;
  double repeated = 1;
  parallel::HostLink host_link;
};

/// For how long to measure, and where; the same on all ranks but for `likely`.
struct ComputeTime {
  double seconds = 0;       // for the curve
  std::int64_t likely = 0;  // this rank's part of the total by its time for one sample; 0 without a total
  double slowest = 0;       // seconds of the likely batch (of one sample without a total), most of all ranks
};

/// Of all ranks' times for one sample (0: the rank holds none). `total`: 0 if unknown; `given_seconds`: what the user
/// asked for, 0 leaves it to the time a batch takes: enough for the likely batch and its neighbours, or for some
/// doublings, from 20 to 100 seconds.
ComputeTime compute_time(const std::vector<double>& one_sample, int rank, std::int64_t total, double given_seconds);

/// All ranks must call the same functions, in order.
class ComputeMeasurement {
 public:
  /// `max_batch` 0: the rank does not hold the model. Then with `in_parts` its blocks are timed part by part
  /// (parts.h), else it waits for the others.
  ComputeMeasurement(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                     MemoryBudget& budget, std::int64_t max_batch, bool in_parts);

  /// Times the update and one sample, and tells how long that leads to. `total` and `given_seconds` as above.
  ComputeTime prepare(std::int64_t total, double given_seconds);
  /// The curve within that time; a rank that is done computes on until all are. May be called again.
  ComputeProfile run(const ComputeTime& time, std::int64_t total, bool show_progress);

 private:
  ComputeProfile run_parts(const ComputeTime& allowed, std::int64_t total);
  void make_dry_run();
  void make_batch(std::int64_t size);
  double time(std::int64_t size, int count);
  std::vector<plan::BlockTimes> block_times(const std::vector<plan::CurvePoint>& curve) const;
  double repeat(const plan::CurvePoint& first);
  double time_update();

  comm::Communicator& communicator_;
  const model::Model& model_;
  RankSetup setup_;
  MemoryBudget& budget_;
  std::int64_t max_batch_, too_large_ = 0;
  bool in_parts_;
  SpeedEmulator emulator_;
  std::unique_ptr<DryRun> dry_run_;
  std::unique_ptr<PartsMeasurement> parts_;               // null: the model is held, or cannot be timed
  std::vector<model::SyntheticBatch> batches_;            // the one in work and those that a loader holds beside it
  std::map<std::int64_t, plan::BlockTimes> block_times_;  // by batch: the quickest of its timings
  double update_seconds_ = 0, wall_ = 0, cpu_ = 0;
};

}  // namespace lshdp::measure
