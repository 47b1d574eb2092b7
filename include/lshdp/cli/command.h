// What main needs of a command: its name, one line of help, and a function that parses its options and runs it.
#pragma once
#include <string>
#include <vector>

namespace lshdp::cli {

/// argv as the shell gave it, argv[0] the command's name.
using Arguments = std::vector<std::string>;

class Options;

struct Command {
  std::string name;
  std::string help;  // one line
  bool uses_mpi;     // true: may run on several ranks under mpirun
  int (*run)(const Arguments& arguments);
  Options (*options)() = nullptr;  // what `run` parses, for those who list it; none: the command has kinds of its own
  const std::vector<Command>& (*kinds)() = nullptr;  // those, each with its options
  bool in_files = true;                              // `lshdp run` takes its options from a file
};

/// All commands, in the order of the help.
const std::vector<Command>& commands();
const std::vector<Command>& data_kinds();
const std::vector<Command>& checkpoint_kinds();

// One file per command, src/cli/NAME.cpp. Each returns an exit code or throws an Error; `--help` prints and returns 0.
int run_check(const Arguments& arguments);
int run_checkpoint(const Arguments& arguments);
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
int run_merge_lora(const Arguments& arguments);
int run_generate(const Arguments& arguments);
int run_report(const Arguments& arguments);
int run_top(const Arguments& arguments);
int run_man(const Arguments& arguments);
int run_completion(const Arguments& arguments);
int run_run(const Arguments& arguments);
int run_init_config(const Arguments& arguments);

// Their options.
Options check_options();
Options init_options();
Options max_batch_options();
Options memory_options();
Options profile_options();
Options optimize_options();
Options describe_options();
Options diagram_options();
Options explore_options();
Options train_options();
Options evaluate_options();
Options export_options();
Options merge_lora_options();
Options generate_options();
Options report_options();
Options top_options();
Options man_options();
Options completion_options();
Options run_options();
Options init_config_options();

}  // namespace lshdp::cli
