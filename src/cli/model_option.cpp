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
#include "lshdp/model/fine_tuning.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/traced.h"
#include "lshdp/parallel/precision.h"
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

constexpr const char* kBasePrecision = "base-precision";

std::optional<model::BasePrecision> given_base_precision(const Values& values) {
  if (!values.has(kBasePrecision)) return std::nullopt;
  return model::base_precision_from_text(values.choice(kBasePrecision, {"full", "int8", "nf4", "nf4-double"}));
}

/// Adapters as --lora describes them, or as they were saved.
std::optional<model::LoraSettings> lora_settings(const Values& values) {
  std::optional<model::LoraSettings> settings;
  if (values.has("lora")) settings = model::parse_lora(values.text("lora"));
  if (values.has("adapter")) settings = train::find_saved_adapter(values.text("adapter"), "--adapter").settings;
  const model::BasePrecision base = given_base_precision(values).value_or(model::BasePrecision::full);
  if (settings) settings->base = base;
  if (!settings && base != model::BasePrecision::full)
    throw UsageError("--base-precision: only weights that are not trained are held in fewer bits; add --lora");
  return settings;
}

/// Of a run that goes on.
model::LoraSettings lora_settings_of_run(const model::Model& base, const Values& values,
                                         const model::LoraSettings& recorded) {
  if (const auto precision = given_base_precision(values); precision && *precision != recorded.base)
    throw UsageError(fmt::format("--base-precision: the run that --resume goes on with has {} (now {}); leave it out",
                                 model::to_text(recorded.base), model::to_text(*precision)));
  if (!values.has("lora")) return recorded;
  model::LoraSettings given = model::parse_lora(values.text("lora"));
  given.base = recorded.base;
  if (!model::same_adapters(base, given, recorded, "--lora"))
    throw UsageError(fmt::format("--lora: the run that --resume goes on with has {} (now {}); leave it out",
                                 model::to_text(recorded), model::to_text(given)));
  return recorded;
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

void require_precision(const model::Model& model, const Values& values) {
  if (!values.has("precision")) return;
  const plan::Precision precision = plan::precision_from_text(values.text("precision"));
  model::require_type(model, parallel::compute_type(precision), "--precision");
}

model::Model with_given_frozen(model::Model model, const Values& values, bool adapters) {
  if (adapters) throw UsageError("--freeze: adapters alone are trained, all else stays as it is already");
  const std::vector<std::string> patterns = split_list(values.text("freeze"), "--freeze");
  model = model::with_frozen(std::move(model), patterns, "--freeze");
  // Files that were measured with all of it trained are not of this one.
  model.name = fmt::format("{}{}{}", model.name, kWithFrozen, fmt::join(patterns, ","));
  return model;
}

model::Model changed(model::Model model, const Values& values, const model::LoraSettings* recorded) {
  model = with_given_context(std::move(model), values);
  require_precision(model, values);
  const std::optional<model::LoraSettings> lora =
      recorded != nullptr ? lora_settings_of_run(model, values, *recorded) : lora_settings(values);
  if (values.has("freeze")) return with_given_frozen(std::move(model), values, lora.has_value());
  if (!lora) return model;
  const char* source = recorded != nullptr ? "--resume" : values.has("lora") ? "--lora" : "--adapter";
  model = model::with_lora(std::move(model), *lora, source);
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
  options.required("model", "MODEL",
                   "a preset, a JSON file, a folder with a config.json, or a file that was exported from PyTorch "
                   "(docs/own-models.md)");
  add_context_option(options);
  options
      .option("freeze", "PATTERNS",
              "parameters of these names are not trained: encoder.*,conv_proj.* (* and ? and [..] as a shell's)")
      .option("lora", "SETTINGS",
              "train low-rank adapters alone, the model itself stays: r=16,alpha=32,dropout=0.05,targets=q_proj,v_proj "
              "(rslora=true; targets=all-linear)")
      .option(
          "base-precision", "TYPE",
          "with adapters, how the other weights of linear layers are held: full, int8 (a scale a row), nf4 (4 bits, a "
          "scale for 64) or nf4-double (scales in 8 bits; default: full, or what a run that is resumed has)");
}

void add_packing_option(Options& options) {
  options.option("packing", "WHAT", "of samples of tokens: none, or documents, which are kept apart (lshdp data text)",
                 "none");
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
  return shared_model_of_run(communicator, values, nullptr);
}

model::Model shared_model_of_run(comm::Communicator& communicator, const Values& values,
                                 const model::LoraSettings* recorded) {
  return shared(communicator, [&] { return changed(model::make_model(values.text("model")), values, recorded); });
}

model::Model shared_packed_model(comm::Communicator& communicator, const Values& values) {
  const bool documents = values.choice("packing", {"none", "documents"}) == "documents";
  model::Model model = shared_model(communicator, values);
  comm::agree(communicator, [&] {
    if (documents && !model.keeps_documents_apart)
      throw UsageError(fmt::format("--packing documents: {} does not keep documents apart", model.name));
  });
  model.input.documents = documents;
  return model;
}

std::string model_of_weights(const Values& values, const train::SavedModel& saved) {
  if (values.has("model")) return values.text("model");
  if (!saved.config.empty()) return saved.config.string();
  throw UsageError(
      fmt::format("--model MODEL is missing: nothing says what model the weights {} are of", saved.weights.string()));
}

std::filesystem::path first_weights(comm::Communicator& communicator, const model::Model& model, const Values& values) {
  if (values.has("init")) return values.text("init");
  if (!model::is_traced(model)) return {};
  comm::on_rank_0(communicator, [&]() -> std::string {
    if (model::exported_description(values.text("model"))) return "";
    throw UsageError(
        fmt::format("--init WEIGHTS is missing: {} was exported from PyTorch, and {} does not hold its first weights; "
                    "give the file that was exported, or trained weights",
                    model.name, values.text("model")));
  });
  return values.text("model");
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
    model::Model made = model::make_model(model);
    require_precision(made, values);
    if (!takes_samples) return made;
    return with_given_context(std::move(made), values);
  });
}

}  // namespace lshdp::cli
