// The largest micro-batch of each rank that fits into its memory budget, found by training it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/measure/batch_search.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/profile.h"

namespace lshdp::measure {

struct MaxBatchOptions {
  std::int64_t largest = 4096;  // no larger micro-batch is tried
  double max_try_seconds = 30;  // the search stops growing where one try would take longer
  double total_seconds = 600;   // no try is begun later; what should fit is then estimated
  int batches_ahead = 2;        // batches the data loader holds beside the one in work
};

struct MaxBatchResult {
  int rank = 0;
  std::string host;
  std::int64_t memory_bytes = 0;  // the budget
  std::int64_t max_batch = 0;     // 0: not even one sample fits
  plan::MaxBatchFrom from = plan::MaxBatchFrom::measured;
  std::int64_t tried = 0;  // largest batch that was trained: max_batch, or less where that is estimated
  LimitedBy limited_by = LimitedBy::memory;
  std::int64_t peak_bytes = 0;    // of all tensors of the rank at max_batch
  std::int64_t needed_bytes = 0;  // if max_batch is 0: what a batch of 1 needs
  bool needs_more = false;        // ... at least: the host could not even give that much
  std::size_t resident = 0;       // lsdp: blocks whose parameters may stay on the device beside max_batch
};

/// Runs forward, backward and update of rank `rank` of `ranks` on batches of growing size, everything freed between
/// tries, no network: a rank that runs out of memory leaves nobody waiting. Exact to the sample where memory is the
/// limit; where time is, estimate_largest() says what should fit. `budget` must be this process's; what it already
/// counts belongs to the rank. Its limit is `setup.memory_bytes` afterwards.
MaxBatchResult probe_max_batch(const model::Model& model, const RankSetup& setup, int rank, int ranks,
                               MemoryBudget& budget, const MaxBatchOptions& options);

/// All ranks probe at once; every rank gets all results, by rank. All ranks must call it.
std::vector<MaxBatchResult> probe_max_batches(comm::Communicator& communicator, const model::Model& model,
                                              const RankSetup& setup, MemoryBudget& budget,
                                              const MaxBatchOptions& options);

/// The setup with its `resident` decided where that was left open (lsdp): as many first blocks as the budget holds
/// beside a micro-batch of `largest` samples, for which one is trained with none resident, without the network. For
/// other modes, and where the user said how many, it is `setup` itself.
RankSetup with_resident_blocks(const model::Model& model, const RankSetup& setup, int rank, int ranks,
                               MemoryBudget& budget, std::int64_t largest);

/// Whether one step of `batch` samples fits, tried as the probe tries it.
bool fits(const model::Model& model, const RankSetup& setup, int rank, int ranks, MemoryBudget& budget,
          std::int64_t batch);

/// Throws RunError if the model fits on no rank, naming the bytes each would need and the options that would help.
void require_fit_somewhere(const std::vector<MaxBatchResult>& results, const std::string& model,
                           const RankSetup& setup);

/// max_batch.json, version 1: model, mode, offload, precision, wire and the fields above by rank.
nlohmann::json max_batch_to_json(const std::vector<MaxBatchResult>& results, const std::string& model,
                                 const RankSetup& setup);

}  // namespace lshdp::measure
