// The table of commands.
#include "lshdp/cli/command.h"

namespace lshdp::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> table{
      {"data", "converts data sets and tells what is in them", false, run_data, nullptr, data_kinds},
      {"init", "writes the fresh weights of a model", false, run_init, init_options},
      {"check", "checks that all nodes are fit for a run", true, run_check, check_options},
      {"max-batch", "finds the largest micro-batch of each rank", true, run_max_batch, max_batch_options},
      {"memory", "shows what the memory of each rank goes to", true, run_memory, memory_options},
      {"profile", "measures what each rank and the network can do", true, run_profile, profile_options},
      {"optimize", "splits a step over the ranks of a profile", false, run_optimize, optimize_options},
      {"describe", "shows the blocks of a model and which ranks hold them", false, run_describe, describe_options},
      {"diagram", "draws a layout: which rank has which blocks, and what goes between ranks", false, run_diagram,
       diagram_options},
      {"explore", "finds layouts of large models over many devices, and their memory", false, run_explore,
       explore_options},
      {"train", "trains a model on unequal ranks", true, run_train, train_options},
      {"evaluate", "computes loss and accuracy of saved weights", true, run_evaluate, evaluate_options},
      {"generate", "samples text from a trained GPT", true, run_generate, generate_options},
      {"checkpoint", "lists, describes, verifies and exports checkpoints", false, run_checkpoint, nullptr,
       checkpoint_kinds},
      {"export", "writes saved weights as others load them", false, run_export, export_options},
      {"merge-lora", "adds an adapter to its base model's weights", false, run_merge_lora, merge_lora_options},
      {"run", "runs the command of a file, with its options, on its hosts", true, run_run, run_options, nullptr,
       /*in_files=*/false},
      {"init-config", "writes a file for run, with every option of a command", false, run_init_config,
       init_config_options, nullptr, /*in_files=*/false},
      {"report", "draws and tabulates runs", false, run_report, report_options},
      {"top", "shows a run on the terminal while it trains", false, run_top, top_options, nullptr, /*in_files=*/false},
      {"man", "prints the manual page of all commands", false, run_man, man_options, nullptr, /*in_files=*/false},
      {"completion", "prints what bash or zsh needs to complete command lines", false, run_completion,
       completion_options, nullptr, /*in_files=*/false},
  };
  return table;
}

}  // namespace lshdp::cli
