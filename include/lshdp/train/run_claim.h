// A run directory belongs to one run at a time, and an earlier run's is never overwritten unasked.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/file.h"
#include "lshdp/core/folder_lock.h"

namespace lshdp::train {

struct ClaimRequest {
  std::filesystem::path results;     // the run directory; empty: none
  std::filesystem::path resume;      // what the run continues; empty: it begins anew
  bool overwrite = false;            // an earlier run there may be replaced
  bool resume_auto = false;          // what becomes of an earlier run there is for find_auto_resume() to say
  std::string option = "--results";  // that named `results`, for messages
};

/// The run directory while the run lasts. Only rank 0 has the lock; without results no rank has.
struct RunClaim {
  NewFolders folders;
  std::unique_ptr<FolderLock> lock;  // let go before the folders
};

/// The run directory that --resume goes on in where --results is not given: the one that is resumed. Empty if nothing
/// is. All ranks must call it; throws AgreedError for a checkpoint outside of a run directory.
std::filesystem::path results_of_resume(comm::Communicator& communicator, const std::filesystem::path& resume);

/// Throws UsageError naming `option` if `output` is, or lies in, a folder that a run keeps for itself: RUN/checkpoints,
/// whose content it removes when it is old, or RUN/best.
void refuse_inside_run(const std::filesystem::path& output, std::string_view option);

/// Makes the folder and locks it for as long as the result lives; a folder that it made and that is still empty then is
/// removed. Throws AgreedError: not writable, in use by another run, inside another run's checkpoints, or it holds an
/// earlier run that is not resumed and may not be overwritten. Removes nothing. All ranks must call it.
[[nodiscard]] RunClaim claim_run(comm::Communicator& communicator, const ClaimRequest& request);

/// Removes what an earlier run left in its directory, but for its plan and profile, which the new one may have been
/// given. Throws WriteError.
void remove_earlier_run(const std::filesystem::path& results);

}  // namespace lshdp::train
