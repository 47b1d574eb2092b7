// What all ranks of a command must have in common before it begins: program, command line, files.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lshdp/cli/options.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/comm/same.h"

namespace lshdp::cli {

/// Every option of this rank, numbers as they were read.
comm::Facts option_facts(const Values& values);

/// What a file is told by.
using FileFact = std::function<std::string(const std::filesystem::path&)>;

/// Which ranks see the same files: those of one kernel with the same mounts and, for relative paths, the same folder.
class FileViews {
 public:
  /// All ranks must call it; `communicator` must outlive it.
  explicit FileViews(comm::Communicator& communicator);
  /// `fact` of a file as each rank sees it, by rank, found by one rank for all that see the same file. All ranks must
  /// call it; throws AgreedError where `fact` throws.
  std::vector<std::string> facts_of(const std::filesystem::path& path, const FileFact& fact) const;
  /// comm::Hosts::nodes.
  const std::vector<std::string>& nodes() const { return nodes_; }

 private:
  comm::Communicator& communicator_;
  std::vector<std::string> nodes_, mounts_, folders_;  // by rank
};

/// What tells a file of weights, or a folder of them, from others: sizes, and checksums of their beginnings and ends.
/// Empty if there is none.
std::string sample_of_files(const std::filesystem::path& path);

/// What a data set holds, or why it cannot be read.
std::string data_fact(const std::filesystem::path& path);

/// Throws AgreedError of exit code 2 naming options, files and ranks: unless all ranks run one program with the same
/// option_facts(), the same data sets (--data, --eval-data, --trained-on), the same run or checkpoint of --resume, and
/// the same model, plan and profile where they have such a file at all (rank 0's count). Warns where weights differ,
/// which are rank 0's, and of what problems_of() finds. All ranks must call it.
void require_same_start(comm::Communicator& communicator, const Values& values);

}  // namespace lshdp::cli
