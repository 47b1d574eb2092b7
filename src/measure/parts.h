// Times the blocks of a model on a rank that does not hold all of them: part after part.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "dry_run.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/memory.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/profile.h"

namespace lshdp::measure {

/// Of all blocks of the model.
struct PartsProfile {
  std::vector<plan::BlockProfile> blocks;
  std::vector<plan::BlockTimes> block_times;  // by batch, rising from 1
  double cores = 1;                           // CPU-seconds a second
};

/// A part is consecutive blocks, as many as fit comfortably, or the first and the last blocks together where these
/// share a parameter. One part is held at a time.
class PartsMeasurement {
 public:
  /// Of rank `rank` of `ranks`, at least 2. What is given must outlive it; `budget` has its limit.
  PartsMeasurement(const model::Model& model, const RankSetup& setup, int rank, int ranks, MemoryBudget& budget,
                   SpeedEmulator* emulator);

  /// Finds the parts. Returns the seconds of one sample through all of them; 0: blocks that must lie together do not
  /// fit.
  double prepare();
  /// Of the optimizer, for an equal share of the model's parameters.
  double update_seconds() const { return update_seconds_; }
  /// Micro-batches of 1, 2, 4, .. samples, at most `largest`, as far as `seconds` and memory allow in every part.
  PartsProfile run(double seconds, std::int64_t largest);
  /// One sample through the part that is held.
  void work();

 private:
  using Ranges = std::vector<parallel::BlockRange>;

  void hold(const Ranges& ranges);
  bool fits(const Ranges& ranges);
  bool find();
  bool find_between(std::size_t start, std::size_t end);
  void try_out(const Ranges& ranges);
  plan::BlockTimes timed(const model::SyntheticBatch& batch);
  std::int64_t time_part(const Ranges& ranges, double seconds, std::int64_t largest,
                         std::map<std::int64_t, plan::BlockTimes>& times);

  const model::Model& model_;
  const RankSetup& setup_;
  int rank_, ranks_;
  MemoryBudget& budget_;
  SpeedEmulator* emulator_;
  std::vector<Ranges> parts_;
  std::unique_ptr<DryRun> held_;
  double one_sample_ = 0, update_seconds_ = 0, wall_ = 0, cpu_ = 0;
};

}  // namespace lshdp::measure
