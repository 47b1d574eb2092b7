// Whether a folder is the same one on all ranks, as checkpoints need it.
#pragma once
#include <filesystem>
#include <string>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// How long a file that one rank wrote may take to be seen by the others: network file systems keep what they knew of a
/// folder for a while.
inline constexpr double kFolderPatience = 5;

/// Proves that all ranks see one folder and can write there: rank 0 writes a file that every rank reads back, every
/// rank writes one that rank 0 reads back; all are removed. A missing folder is made on rank 0 and removed again.
/// Throws AgreedError of exit code 2 naming `what`, the rank, its host and the folder. All ranks must call it.
void require_shared_folder(Communicator& communicator, const std::filesystem::path& folder, const std::string& what,
                           double patience_seconds = kFolderPatience);

}  // namespace lshdp::comm
