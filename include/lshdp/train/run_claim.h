// A run directory belongs to one run at a time, and an earlier run's is never overwritten unasked.
#pragma once
#include <filesystem>
#include <memory>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/folder_lock.h"

namespace lshdp::train {

struct ClaimRequest {
  std::filesystem::path results;  // the run directory; empty: none
  std::filesystem::path resume;   // what the run continues; empty: it begins anew
  bool overwrite = false;         // an earlier run there may be replaced
};

/// The run directory that --resume goes on in where --results is not given: the one that is resumed. Empty if nothing
/// is. All ranks must call it; throws AgreedError for a checkpoint outside of a run directory.
std::filesystem::path results_of_resume(comm::Communicator& communicator, const std::filesystem::path& resume);

/// Makes the folder and locks it for as long as the result lives (on rank 0; null elsewhere and without results).
/// Throws AgreedError: not writable, in use by another run, or it holds an earlier run that is not resumed and may not
/// be overwritten. Removes nothing. All ranks must call it.
std::unique_ptr<FolderLock> claim_run(comm::Communicator& communicator, const ClaimRequest& request);

/// Removes what an earlier run left in its directory, but for the plan and the profile, which the new one has written
/// already. Throws WriteError.
void remove_earlier_run(const std::filesystem::path& results);

}  // namespace lshdp::train
