// lshdp export: weights of a run, a checkpoint, a file or a folder in the form that others load.
#include "lshdp/train/export.h"

#include <fmt/format.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "model_option.h"

namespace lshdp::cli {
namespace {

std::optional<at::ScalarType> type_of(const Values& values) {
  if (!values.has("dtype")) return std::nullopt;
  const std::string& name = values.choice("dtype", {"fp32", "bf16", "fp16", "fp64"});
  if (name == "fp64") return at::kDouble;
  if (name == "bf16") return at::kBFloat16;
  return name == "fp16" ? at::kHalf : at::kFloat;
}

}  // namespace

Options export_options() {
  Options options("export", "Writes saved weights as transformers (GPT) and torchvision (ViT) load them.",
                  "lshdp export runs/first --out first");
  options.positional("weights", "a run, a checkpoint, a Hugging Face folder, a list of shards or a safetensors file")
      .required("out", "PLACE",
                "a folder for model.safetensors and config.json; or a name in .safetensors, for that file alone")
      .option("model", "MODEL", "a preset, a JSON file or a folder, where the weights do not say it themselves")
      .option("dtype", "TYPE", "fp32, bf16, fp16 or fp64 (default: fp32, and fp64 of weights in fp64)");
  return options;
}

int run_export(const Arguments& arguments) {
  const Values values = export_options().parse(arguments);
  if (values.help()) return 0;
  const std::optional<at::ScalarType> type = type_of(values);
  const std::filesystem::path out = values.text("out");
  const NewFolders folders = train::require_export_place(out);
  const train::SavedModel saved = train::find_saved_model(values.text("weights"), "weights");
  const model::Model model = model::make_model(model_of_weights(values, saved));
  const train::Exported exported = train::export_weights(model, saved, out, type);
  print_output(fmt::format("{}: {} parameters ({}) in {}\n", model.name, format_count(model.parameter_count()),
                           format_size(exported.bytes), exported.weights.string()));
  return 0;
}

}  // namespace lshdp::cli
