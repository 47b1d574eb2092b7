// The file of lshdp run: a command with its options, the hosts of its ranks, and what mpirun is told.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lshdp/cli/command.h"

namespace lshdp::cli {

/// Stands where whoever uses a file of init-config must write a value; run refuses it.
inline constexpr const char* kFillIn = "FILL-IN";

struct RunHost {
  std::string name;
  std::int64_t ranks = 1;
  std::map<std::string, std::string> options = {};  // that all its ranks take
};

struct RunConfig {
  const Command* command = nullptr;
  Arguments arguments = {};         // of the command: its name, then what its options say
  std::string log = {};             // the command's --log
  std::vector<RunHost> hosts = {};  // in the order of their ranks; none: no ranks are started
  std::vector<std::string> mpirun = {};
  std::map<std::string, std::string> environment = {};  // variables of all ranks
};

/// Reads `file` and changes it by `overrides`: key=value, where options.steps may be written as steps, or ~key to leave
/// one out. Values of options are those of the command line; lists become values with commas. Throws UsageError naming
/// the file and the key, or the override.
RunConfig read_run_config(const std::string& file, const std::vector<std::string>& overrides);

/// The command of that name, if its options are known, so that a file can give them. Throws UsageError naming `what`.
const Command& described_command(const std::string& name, const std::string& what);

}  // namespace lshdp::cli
