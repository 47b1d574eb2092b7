// Which tokenizer it is, by options, by the folder of the weights, by the size of the vocabulary.
#include "tokenizer_option.h"

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/weights.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/run_file.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

/// What the last launch of a run recorded of its data's tokenizer; empty where nothing did.
data::TokenizerRecord tokenizer_of_run(const fs::path& run) {
  const Json launch = run.empty() ? Json() : train::read_last_launch(run);
  const auto text = [&](const char* key) {
    const Json::json_pointer at("/data/" + std::string(key));
    return launch.contains(at) && launch[at].is_string() ? launch[at].get<std::string>() : std::string();
  };
  return {text("tokenizer"), text("tokenizer_checksum"), "", ""};
}

/// Where a tokenizer's files lie for these weights: the run that they are of, or their own folder.
fs::path folder_of(const train::SavedModel& saved) {
  if (!saved.run.empty()) return saved.run;
  const fs::path name = saved.weights.filename();
  return name == model::kWeightsFile || name == model::kShardsFile ? saved.weights.parent_path() : fs::path();
}

constexpr const char* kSentencePiece = "tokenizer.model";

[[noreturn]] void refuse_sentence_piece(const std::string& file) {
  throw UsageError(
      fmt::format("{} is a model of SentencePiece, which is not read; make a tokenizer.json of it (in Python: "
                  "transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)) and take that",
                  file));
}

bool names_a_file(const Values& values) {
  return values.has("tokenizer") && values.text("tokenizer").ends_with(".json");
}

std::unique_ptr<data::Tokenizer> found(const Values& values, const fs::path& folder, std::int64_t model_vocabulary) {
  constexpr std::int64_t bytes = 256;
  if (values.has("tokenizer") || values.has("encoder") || values.has("vocab-bpe")) return tokenizer_by_options(values);
  if (!folder.empty() && fs::exists(folder / "tokenizer.json")) return data::make_tokenizer(folder / "tokenizer.json");
  if (!folder.empty() && fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt"))
    return data::make_gpt2_tokenizer(folder / "vocab.json", folder / "merges.txt");
  if (!folder.empty() && fs::exists(folder / kSentencePiece)) refuse_sentence_piece((folder / kSentencePiece).string());
  if (model_vocabulary >= bytes && model_vocabulary <= 2 * bytes) return data::make_byte_tokenizer();
  throw UsageError(
      fmt::format("the model's vocabulary of {} is not that of bytes; give --tokenizer gpt2 with --encoder "
                  "and --vocab-bpe, or --tokenizer tokenizer.json",
                  model_vocabulary));
}

}  // namespace

void add_tokenizer_options(Options& options, bool by_weights) {
  if (by_weights) {
    options.option("tokenizer", "NAME",
                   "byte, gpt2 or a tokenizer.json: what the model was trained on (default: what lies beside the "
                   "weights, or bytes)");
  } else {
    options.option("tokenizer", "NAME", "byte, gpt2, or a model's tokenizer.json: a file whose name ends in .json",
                   "byte");
  }
  options.option("encoder", "FILE", "GPT-2's encoder.json (vocab.json)")
      .option("vocab-bpe", "FILE", "GPT-2's vocab.bpe (merges.txt)");
}

std::unique_ptr<data::Tokenizer> tokenizer_by_options(const Values& values) {
  const bool given = values.has("encoder") || values.has("vocab-bpe");
  const bool both = values.has("encoder") && values.has("vocab-bpe");
  if (names_a_file(values)) {
    if (given) throw UsageError("--encoder and --vocab-bpe are for --tokenizer gpt2");
    return data::make_tokenizer(values.text("tokenizer"));
  }
  if (values.has("tokenizer") && values.text("tokenizer").ends_with(".model"))
    refuse_sentence_piece("--tokenizer: " + values.text("tokenizer"));
  const bool gpt2 =
      values.has("tokenizer") ? values.choice("tokenizer", {"byte", "gpt2", "FILE.json"}) == "gpt2" : given;
  if (gpt2 && !both) throw UsageError("--tokenizer gpt2 needs --encoder encoder.json and --vocab-bpe vocab.bpe");
  if (!gpt2 && given) throw UsageError("--encoder and --vocab-bpe are for --tokenizer gpt2");
  return gpt2 ? data::make_gpt2_tokenizer(values.text("encoder"), values.text("vocab-bpe"))
              : data::make_byte_tokenizer();
}

std::vector<fs::path> tokenizer_files(const Values& values) {
  std::vector<fs::path> files;
  if (names_a_file(values)) files.emplace_back(values.text("tokenizer"));
  for (const char* name : {"encoder", "vocab-bpe"}) {
    if (values.has(name)) files.emplace_back(values.text(name));
  }
  return files;
}

std::unique_ptr<data::Tokenizer> tokenizer_of_weights(const Values& values, const train::SavedModel& saved,
                                                      std::int64_t model_vocabulary) {
  std::unique_ptr<data::Tokenizer> tokenizer = found(values, folder_of(saved), model_vocabulary);
  const data::TokenizerRecord trained = tokenizer_of_run(saved.run);
  const data::TokenizerRecord& record = tokenizer->record();
  if (!trained.name.empty() && trained.name != record.name) {
    throw UsageError(fmt::format("{} was trained with the tokenizer '{}', not '{}'; see --tokenizer",
                                 saved.run.string(), trained.name, record.name));
  }
  if (!trained.checksum.empty() && trained.checksum != record.checksum) {
    throw UsageError(fmt::format(
        "{} was trained with another vocabulary or other merges; see --tokenizer, --encoder and --vocab-bpe",
        saved.run.string()));
  }
  train::require_vocabulary(values.has("tokenizer") ? "--tokenizer" : "the tokenizer", record.name,
                            tokenizer->vocabulary(), model_vocabulary);
  return tokenizer;
}

}  // namespace lshdp::cli
