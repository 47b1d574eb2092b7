// Which tokenizer it is, by options, by the folder of the weights, by the size of the vocabulary.
#include "lshdp/cli/tokenizer_option.h"

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/train/data_fit.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

/// What RUN/run.json says of the training data; empty if there is no such file.
data::TokenizerRecord tokenizer_of_run(const fs::path& run) {
  const fs::path file = run / "run.json";
  if (run.empty() || !fs::exists(file)) return {};
  const Json json = read_json(file);
  const auto text = [&](const char* key) {
    const Json::json_pointer at("/data/" + std::string(key));
    return json.contains(at) && json[at].is_string() ? json[at].get<std::string>() : std::string();
  };
  return {text("tokenizer"), text("tokenizer_checksum"), "", ""};
}

/// The folder that `weights` is, or lies in: RUN, RUN/best, RUN/checkpoints/step-N, RUN/model.safetensors.
fs::path run_of_weights(const fs::path& weights) {
  fs::path folder = fs::is_directory(weights) ? weights : weights.parent_path();
  for (int up = 0; up < 3; ++up, folder = folder / "..") {
    if (fs::exists(folder / "run.json")) return folder;
  }
  return fs::is_directory(weights) ? weights : fs::path();
}

std::unique_ptr<data::Tokenizer> found(const Values& values, const fs::path& folder, std::int64_t model_vocabulary) {
  constexpr std::int64_t bytes = 256;
  if (values.has("tokenizer") || values.has("encoder") || values.has("vocab-bpe")) return tokenizer_by_options(values);
  if (!folder.empty() && fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt"))
    return data::make_gpt2_tokenizer(folder / "vocab.json", folder / "merges.txt");
  if (model_vocabulary >= bytes && model_vocabulary <= 2 * bytes) return data::make_byte_tokenizer();
  throw UsageError(
      fmt::format("the model's vocabulary of {} is not that of bytes; give --tokenizer gpt2 with --encoder "
                  "and --vocab-bpe",
                  model_vocabulary));
}

}  // namespace

void add_tokenizer_options(Options& options, bool by_weights) {
  if (by_weights) {
    options.option("tokenizer", "NAME",
                   "byte or gpt2: what the model was trained on (default: what lies beside the weights, or bytes)");
  } else {
    options.option("tokenizer", "NAME", "byte or gpt2", "byte");
  }
  options.option("encoder", "FILE", "GPT-2's encoder.json (vocab.json)")
      .option("vocab-bpe", "FILE", "GPT-2's vocab.bpe (merges.txt)");
}

std::unique_ptr<data::Tokenizer> tokenizer_by_options(const Values& values) {
  const bool given = values.has("encoder") || values.has("vocab-bpe");
  const bool both = values.has("encoder") && values.has("vocab-bpe");
  const bool gpt2 = values.has("tokenizer") ? values.choice("tokenizer", {"byte", "gpt2"}) == "gpt2" : given;
  if (gpt2 && !both) throw UsageError("--tokenizer gpt2 needs --encoder encoder.json and --vocab-bpe vocab.bpe");
  if (!gpt2 && given) throw UsageError("--encoder and --vocab-bpe are for --tokenizer gpt2");
  return gpt2 ? data::make_gpt2_tokenizer(values.text("encoder"), values.text("vocab-bpe"))
              : data::make_byte_tokenizer();
}

std::unique_ptr<data::Tokenizer> tokenizer_of_weights(const Values& values, const fs::path& weights,
                                                      std::int64_t model_vocabulary) {
  const fs::path run = run_of_weights(weights);
  std::unique_ptr<data::Tokenizer> tokenizer = found(values, run, model_vocabulary);
  const data::TokenizerRecord trained = tokenizer_of_run(run);
  const data::TokenizerRecord& record = tokenizer->record();
  if (!trained.name.empty() && trained.name != record.name) {
    throw UsageError(fmt::format("{} was trained with the tokenizer '{}', not '{}'; see --tokenizer", weights.string(),
                                 trained.name, record.name));
  }
  if (!trained.checksum.empty() && trained.checksum != record.checksum) {
    throw UsageError(fmt::format(
        "{} was trained with another vocabulary or other merges; see --encoder and --vocab-bpe", weights.string()));
  }
  train::require_vocabulary(values.has("tokenizer") ? "--tokenizer" : "the tokenizer", record.name,
                            tokenizer->vocabulary(), model_vocabulary);
  return tokenizer;
}

}  // namespace lshdp::cli
