// lshdp describe: the blocks of a model, their shapes and sizes, and the ranks of a layout that hold them.
#include <optional>

#include "lshdp/cli/command.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/output.h"
#include "lshdp/measure/describe_model.h"

namespace lshdp::cli {

Options describe_options() {
  Options options("describe", "Shows the blocks of a model, their shapes and sizes, and which ranks hold them",
                  "lshdp describe --model gpt2 --layout layout.json");
  options.required("model", "MODEL", "a preset, a JSON file, a folder with a config.json, or an exported file")
      .option("layout", "FILE", "a layout.json: show the ranks of each block, and what each rank holds")
      .option("json", "FILE", "where to write the same as JSON");
  return options;
}

int run_describe(const Arguments& arguments) {
  const Values values = describe_options().parse(arguments);
  if (values.help()) return 0;
  const std::string file = values.has("json") ? values.text("json") : "";
  const std::string layout_file = values.has("layout") ? values.text("layout") : "";
  NewFolders made;
  if (!file.empty()) {
    refuse_overwriting("--json", file, {values.text("model"), layout_file});
    made = require_writable_file(file, "--json");
  }
  const model::Model model = model::make_model(values.text("model"));
  std::optional<plan::Layout> layout;
  if (!layout_file.empty()) layout = plan::read_layout(layout_file);
  const measure::ModelDescription description =
      measure::describe_model(model, layout ? &*layout : nullptr, layout_file);
  if (!file.empty()) write_json(file, measure::to_json(description));
  print_output(measure::to_text(description));
  return 0;
}

}  // namespace lshdp::cli
