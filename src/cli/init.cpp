// lshdp init: writes the fresh weights of a model.
#include <filesystem>

#include <fmt/format.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/model/traced.h"
#include "lshdp/model/weights.h"

namespace lshdp::cli {

Options init_options() {
  Options options("init", "Writes the fresh weights of a model as safetensors",
                  "lshdp init --model vit_b_16 --seed 1 --save vit.safetensors");
  options.required("model", "M", "a preset's name, or a JSON file that describes a model")
      .option("seed", "S", "weights are a function of the seed", "0")
      .required("save", "FILE", "where to write the weights");
  return options;
}

int run_init(const Arguments& arguments) {
  const Values values = init_options().parse(arguments);
  if (values.help()) return 0;
  const auto seed = static_cast<std::uint64_t>(values.integer("seed", 0));
  const std::filesystem::path path = values.text("save");
  refuse_overwriting("--save", path, {values.text("model")});
  const NewFolders folders = require_writable_file(path, "--save");
  const model::Model made = model::make_model(values.text("model"));
  if (model::is_traced(made))
    throw UsageError(fmt::format(
        "--model: {} was exported from PyTorch with its first weights; give that file as --init", made.name));
  model::write_weights(made, model::initial_values(made, seed), path);
  print_output("{}: {} parameters ({}) in {}\n", made.name, format_count(made.parameter_count()),
               format_size(static_cast<std::int64_t>(std::filesystem::file_size(path))), path.string());
  return 0;
}

}  // namespace lshdp::cli
