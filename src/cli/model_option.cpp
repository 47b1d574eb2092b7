// Models by rank 0's description.
#include "model_option.h"

#include <functional>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/model/lora.h"
#include "lshdp/train/saved_adapter.h"

namespace lshdp::cli {

namespace {

namespace fs = std::filesystem;

model::Model shared(comm::Communicator& communicator, const std::function<model::Model()>& make) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const model::Model model = make();
    return json_text(Json{{"name", model.name}, {"description", model.description}, {"dropout", model.dropout}});
  });
  const Json said = parse_json(text, "--model");
  model::Model model = model::make_model_from_json(said["description"], said["name"]);
  model.dropout = said["dropout"].get<std::vector<std::string>>();
  return model;
}

/// Adapters as --lora describes them, or as they were saved.
std::optional<model::LoraSettings> lora_settings(const Values& values) {
  std::optional<model::LoraSettings> settings;
  if (values.has("lora")) settings = model::parse_lora(values.text("lora"));
  if (values.has("adapter")) settings = train::find_saved_adapter(values.text("adapter"), "--adapter").settings;
  const std::string& base = values.choice("base-precision", {"full", "int8", "nf4", "nf4-double"});
  if (settings) settings->base = model::base_precision_from_text(base);
  if (!settings && base != "full")
    throw UsageError("--base-precision: only weights that are not trained are held in fewer bits; add --lora");
  return settings;
}

/// With more positions nobody means a sample of them all.
constexpr std::int64_t kLongestDefault = 8192;

model::Model with_given_context(model::Model model, const Values& values) {
  if (values.has("context")) return model::with_context(model, values.integer("context", 1));
  if (model.input.context > kLongestDefault)
    throw UsageError(fmt::format("--context is missing: {} has {} positions; say how many tokens a sample has",
                                 model.name, format_count(model.input.context)));
  return model;
}

model::Model changed(model::Model model, const Values& values) {
  model = with_given_context(std::move(model), values);
  const std::optional<model::LoraSettings> lora = lora_settings(values);
  if (!lora) return model;
  model = model::with_lora(std::move(model), *lora, values.has("lora") ? "--lora" : "--adapter");
  // Files that were measured with the model alone are not of this one.
  model.name = fmt::format("{}{}r={} of {}", model.name, kWithAdapters, lora->rank, fmt::join(lora->targets, ","));
  if (lora->base != model::BasePrecision::full) model.name += fmt::format(" over {}", model::to_text(lora->base));
  return model;
}

}  // namespace

void add_context_option(Options& options) {
  options.option("context", "T", "tokens of a sample (default: as many as the model has positions)");
}

void add_model_options(Options& options) {
  options.required("model", "MODEL", "a preset, a JSON file, or a folder with a config.json");
  add_context_option(options);
  options
      .option("lora", "SETTINGS",
              "train low-rank adapters alone, the model itself stays: r=16,alpha=32,dropout=0.05,targets=q_proj,v_proj "
              "(rslora=true; targets=all-linear)")
      .option(
          "base-precision", "TYPE",
          "with adapters, how the other weights of linear layers are held: full, int8 (a scale a row), nf4 (4 bits, a "
          "scale for 64) or nf4-double (scales in 8 bits)",
          "full");
}

void add_adapter_option(Options& options) {
  options
      .option(
          "adapter", "DIR",
          "begin with this adapter in place of a fresh one: adapter_model.safetensors and adapter_config.json, or a "
          "run that trained one")
      .excludes("adapter", "lora");
}

model::Model shared_model_of_samples(comm::Communicator& communicator, const Values& values) {
  return shared(communicator, [&] { return with_given_context(model::make_model(values.text("model")), values); });
}

model::Model shared_model(comm::Communicator& communicator, const Values& values) {
  return shared(communicator, [&] { return changed(model::make_model(values.text("model")), values); });
}

std::string model_of_weights(const Values& values, const train::SavedModel& saved) {
  if (values.has("model")) return values.text("model");
  if (!saved.config.empty()) return saved.config.string();
  throw UsageError(
      fmt::format("--model MODEL is missing: nothing says what model the weights {} are of", saved.weights.string()));
}

train::SavedModel given_weights(const Values& values) {
  train::SavedModel saved = train::find_saved_model(values.text("init"), "--init");
  if (!values.has("adapter")) return saved;
  const train::SavedAdapter adapter = train::find_saved_adapter(values.text("adapter"), "--adapter");
  if (const std::string doubt = train::doubt_of_base(adapter, values.text("init")); !doubt.empty())
    spdlog::warn("--adapter: {}", doubt);
  if (!adapter.run.empty()) saved.run = adapter.run;
  return saved;
}

model::Model shared_model_of_weights(comm::Communicator& communicator, const Values& values, bool takes_samples) {
  return shared(communicator, [&] {
    const std::string model = values.has("model")
                                  ? values.text("model")
                                  : model_of_weights(values, train::find_saved_model(values.text("init"), "--init"));
    return takes_samples ? with_given_context(model::make_model(model), values) : model::make_model(model);
  });
}

}  // namespace lshdp::cli
