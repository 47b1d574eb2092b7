// lshdp export, merge-lora: weights of a run, a checkpoint, a file or a folder in the form that others load.
#include "lshdp/train/export.h"

#include <fmt/format.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/log.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/train/saved_adapter.h"
#include "lshdp/train/saved_model.h"
#include "model_option.h"

namespace lshdp::cli {
namespace {

constexpr const char* kPlace =
    "a folder for model.safetensors and config.json; or a name in .safetensors, for that file alone";

void add_dtype_option(Options& options) {
  options.option("dtype", "TYPE", "fp32, bf16, fp16 or fp64 (default: fp32, and fp64 of weights in fp64)");
}

std::optional<at::ScalarType> type_of(const Values& values) {
  if (!values.has("dtype")) return std::nullopt;
  const std::string& name = values.choice("dtype", {"fp32", "bf16", "fp16", "fp64"});
  if (name == "fp64") return at::kDouble;
  if (name == "bf16") return at::kBFloat16;
  return name == "fp16" ? at::kHalf : at::kFloat;
}

void report(const model::Model& model, const train::Exported& exported) {
  print_output(fmt::format("{}: {} parameters ({}) in {}\n", model.name, format_count(model.parameter_count()),
                           format_size(exported.bytes), exported.weights.string()));
}

}  // namespace

Options export_options() {
  Options options("export", "Writes saved weights as transformers (GPT) and torchvision (ViT) load them.",
                  "lshdp export runs/first --out first");
  options.positional("weights", "a run, a checkpoint, a Hugging Face folder, a list of shards or a safetensors file")
      .required("out", "PLACE", kPlace)
      .option("model", "MODEL", "a preset, a JSON file or a folder, where the weights do not say it themselves");
  add_dtype_option(options);
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
  report(model, train::export_weights(model, train::saved_block_values(model, values.text("weights"), "weights"), saved,
                                      out, type));
  return 0;
}

Options merge_lora_options() {
  Options options("merge-lora", "Adds a LoRA adapter to the weights of its base model, as others load them.",
                  "lshdp merge-lora --base llama --adapter runs/lora --out merged");
  options
      .required(
          "base", "WEIGHTS",
          "the weights that the adapter was trained beside: a Hugging Face folder, a run, a checkpoint, a list of "
          "shards or a safetensors file")
      .required("adapter", "DIR", "adapter_model.safetensors and adapter_config.json, or a run that trained one")
      .required("out", "PLACE", kPlace)
      .option("model", "MODEL", "a preset, a JSON file or a folder, where the weights do not say it themselves");
  add_dtype_option(options);
  return options;
}

int run_merge_lora(const Arguments& arguments) {
  const Values values = merge_lora_options().parse(arguments);
  if (values.help()) return 0;
  const std::optional<at::ScalarType> type = type_of(values);
  const std::filesystem::path out = values.text("out");
  const NewFolders folders = train::require_export_place(out);
  const train::SavedModel saved = train::find_saved_model(values.text("base"), "--base");
  const model::Model model = model::make_model(model_of_weights(values, saved));
  const std::string doubt =
      train::doubt_of_base(train::find_saved_adapter(values.text("adapter"), "--adapter"), values.text("base"));
  if (!doubt.empty()) spdlog::warn("--adapter: {}", doubt);
  const model::BlockValues merged = train::merged_values(
      model, train::saved_block_values(model, values.text("base"), "--base"), values.text("adapter"));
  report(model, train::export_weights(model, merged, saved, out, type));
  return 0;
}

}  // namespace lshdp::cli
