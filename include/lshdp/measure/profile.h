// Measures a whole Profile: memory, compute and update of every rank at the same time, the network between them, and
// steps of all together.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/measure/max_batch.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/profile.h"

namespace lshdp::measure {

struct ProfileOptions {
  std::int64_t total = 0;                   // samples a step where known: no rank is measured beyond it; 0: unknown
  std::int64_t largest_batch = 4096;        // no larger micro-batch is tried
  double max_try_seconds = 5;               // of the memory probe
  double memory_seconds = 20;               // of the whole memory probe, or two steps where they take longer
  double curve_seconds = 0;                 // for the compute curve; 0: from 20 to 100, by what a batch takes
  double network_seconds = 5;               // for the network curve
  double link_seconds = 2;                  // for each rank's own link; 0: not measured
  double calibration_seconds = 20;          // for steps of all ranks together, three at least; 0: none
  std::int64_t largest_message = 64 << 20;  // bytes of the network curve's last point at most
  bool show_progress = false;               // on rank 0
  /// The blocks of a model are timed part by part on ranks that do not hold it whole, and it need not fit anywhere:
  /// layouts with stages can train it.
  bool in_parts = false;
  /// Steps of all ranks together are of the layout that this leads to; none: of the split of batches.
  std::optional<plan::LayoutOptions> layout = {};
};

/// Of one sample, as a profile has it.
std::vector<std::int64_t> data_shape(const model::InputSpec& input);

/// What `model` does on these ranks: the network and each rank's link where no two ranks share a host; from then on
/// `communicator` sends, and stores are made, in the sizes that follow (plan/transfer_sizes.h); the largest micro-batch
/// under the budget, the compute curve on all ranks at the same time (a rank that is done computes on until all are, so
/// that ranks of one host see each other's load; emulated speeds included), the update; then some steps of the split
/// or the layout these figures lead to, by which they are corrected (plan/under_load.h), unless there is none: a rank
/// cannot hold the model, and no layout leaves it out. Every rank gets the same Profile. All ranks must call it. Throws
/// AgreedError if the model fits on no rank and may not be measured in parts; warns of ranks on which it does not fit
/// (max_batch 0; an empty curve, or that of its parts). A rank's max_batch is what memory allows, estimated where there
/// was no time to train it; its curve may end below (time, no more gain). Micro-batches of the steps that were not
/// trained before are tried first; where an estimate does not hold, max_batch becomes what was trained. A profile that
/// contradicts itself (plan/disturbance.h) is measured once more, and what remains is warned of and kept in it.
plan::Profile measure_profile(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                              MemoryBudget& budget, const ProfileOptions& options);

}  // namespace lshdp::measure
