// Commands of several kinds, such as lshdp checkpoint list: their help, and the choice of one.
#pragma once
#include <string>
#include <vector>

#include "lshdp/cli/command.h"

namespace lshdp::cli {

struct Kinds {
  std::string command;  // "checkpoint"
  std::string summary;  // one line
  std::string example;  // a command line that works
  std::vector<Command> kinds;
};

/// Runs the kind that arguments[1] names with what follows it, or prints the help. Throws UsageError naming the kinds
/// where it names none.
int run_kind(const Kinds& kinds, const Arguments& arguments);

}  // namespace lshdp::cli
