// Runs the built lshdp as a user would, alone or under mpirun.
#pragma once
#include <string>

#include "support/command.h"

namespace lshdp::test {

/// Paths of the binary, and mpirun with the options that let it run as root on few cores.
std::string lshdp_binary();
std::string mpirun_line(int ranks);

/// `lshdp ARGUMENTS`, ARGUMENTS as typed in a shell.
CommandResult run_lshdp(const std::string& arguments, double limit_seconds = kHangSeconds);
/// `mpirun -np RANKS lshdp ARGUMENTS`.
CommandResult run_lshdp_on(int ranks, const std::string& arguments, double limit_seconds = kHangSeconds);

/// Lines of `text` that begin with `prefix`.
int count_lines_with(const std::string& text, const std::string& prefix);

}  // namespace lshdp::test
