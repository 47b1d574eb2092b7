// The table of commands.
#include "lshdp/cli/command.h"

namespace lshdp::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> table{
      {"data", "converts data sets and tells what is in them", false, run_data},
      {"init", "writes the fresh weights of a model", false, run_init},
      {"check", "checks that all nodes are fit for a run", true, run_check},
      {"max-batch", "finds the largest micro-batch of each rank", true, run_max_batch},
      {"memory", "shows what the memory of each rank goes to", true, run_memory},
      {"profile", "measures what each rank and the network can do", true, run_profile},
      {"optimize", "splits a step over the ranks of a profile", false, run_optimize},
      {"describe", "shows the blocks of a model and which ranks hold them", false, run_describe},
      {"diagram", "draws a layout: which rank has which blocks, and what goes between ranks", false, run_diagram},
      {"explore", "finds layouts of large models over many devices, and their memory", false, run_explore},
      {"train", "trains a model on unequal ranks", true, run_train},
      {"evaluate", "computes loss and accuracy of saved weights", true, run_evaluate},
      {"generate", "samples text from a trained GPT", true, run_generate},
      {"export", "writes saved weights as others load them", false, run_export},
      {"report", "draws and tabulates runs", false, run_report},
  };
  return table;
}

}  // namespace lshdp::cli
