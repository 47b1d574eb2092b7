// Small models and synthetic data by lshdp's own commands.
#include "training_files.h"

#include <stdexcept>

#include "lshdp/core/file.h"
#include "program.h"

namespace lshdp::test {
namespace {

void make_data(const std::string& arguments) {
  const CommandResult result = run_lshdp("data " + arguments);
  if (result.exit_code != 0) throw std::runtime_error("data " + arguments + ": " + result.output);
}

}  // namespace

TrainingFiles::TrainingFiles() {
  write_file(
      path("vit.json"),
      R"({"type":"vit","image_size":8,"channels":1,"patch_size":4,"num_layers":2,"num_heads":2,"hidden_dim":16,"mlp_dim":32,"num_classes":5})");
  write_file(path("gpt.json"), R"({"type":"gpt2","n_layer":2,"n_head":2,"n_embd":16,"n_positions":8,"vocab_size":23})");
  write_file(path("mlp.json"), R"({"type":"mlp","input_size":64,"hidden_sizes":[16,8],"output_size":5})");
  make_data("synthetic-images --count 100 --channels 1 --size 8 --classes 5 --seed 1 --out " + path("vit.h5"));
  make_data("synthetic-images --count 100 --channels 1 --size 8 --classes 5 --seed 2 --out " + path("mlp.h5"));
  make_data("synthetic-tokens --count 801 --vocab 23 --seed 3 --out " + path("gpt.h5"));
}

void expect_a_killed_rank_to_end(const std::string& command, int ranks, const std::string& run) {
  const std::string kill =
      wait_in_shell("ls " + run + "/checkpoints/*/manifest.json") + "pkill -KILL -n -f -- '--results " + run + "$'; ";
  const CommandResult killed =
      run_command(mpirun_line(ranks) + " " + lshdp_binary() + " " + command + " & " + kill + "wait $!");
  EXPECT_NE(killed.exit_code, 0);
  EXPECT_NE(killed.exit_code, 124) << "it hung";
  EXPECT_NE(run_command("pgrep -f -- '--results " + run + "$'").exit_code, 0) << "a rank is left";
}

std::string TrainingFiles::options(const std::string& model) const {
  return "--model " + path(model + ".json") + " --data " + path(model + ".h5");
}

}  // namespace lshdp::test
