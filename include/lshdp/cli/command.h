// What main needs of a command: its name, one line of help, and a function that parses its options and runs it.
#pragma once
#include <string>
#include <vector>

namespace lshdp::cli {

/// argv as the shell gave it, argv[0] the command's name.
using Arguments = std::vector<std::string>;

struct Command {
  std::string name;
  std::string help;  // one line
  bool uses_mpi;     // true: may run on several ranks under mpirun
  int (*run)(const Arguments& arguments);
};

/// All commands, in the order of the help.
const std::vector<Command>& commands();

// One file per command, src/cli/NAME.cpp. Each returns an exit code or throws an Error; `--help` prints and returns 0.
int run_check(const Arguments& arguments);
int run_data(const Arguments& arguments);
int run_init(const Arguments& arguments);
int run_max_batch(const Arguments& arguments);
int run_memory(const Arguments& arguments);
int run_profile(const Arguments& arguments);
int run_optimize(const Arguments& arguments);
int run_describe(const Arguments& arguments);
int run_diagram(const Arguments& arguments);
int run_explore(const Arguments& arguments);
int run_train(const Arguments& arguments);
int run_evaluate(const Arguments& arguments);
int run_export(const Arguments& arguments);
int run_generate(const Arguments& arguments);
int run_report(const Arguments& arguments);

}  // namespace lshdp::cli
