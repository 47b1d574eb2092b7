// Comparing what data and weights say of their tokenizers.
#include "lshdp/train/weights_tokenizer.h"

#include <fmt/format.h>

#include "lshdp/core/text.h"
#include "lshdp/data/dataset.h"
#include "lshdp/data/tokenizer.h"
#include "lshdp/model/weights.h"
#include "lshdp/train/trained_data.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

/// Only files of the kind `name` tell: checksums of different kinds cannot be compared.
std::string checksum_in_folder(const fs::path& folder, const std::string& name) {
  const fs::path json = folder / "tokenizer.json", vocabulary = folder / "vocab.json", merges = folder / "merges.txt";
  if (name == "tokenizer.json" && fs::exists(json)) return data::make_tokenizer(json)->record().checksum;
  if (name == "gpt2" && fs::exists(vocabulary) && fs::exists(merges))
    return data::make_gpt2_tokenizer(vocabulary, merges)->record().checksum;
  return "";
}

/// Of the tokenizer called `name` that the weights were trained with; empty: not known.
std::string known_checksum(const SavedModel& saved, const std::string& name) {
  if (const nlohmann::json training_set = training_set_of(saved); !training_set.is_null()) {
    const data::DatasetInfo info = trained_tokens_of(training_set);
    return info.tokenizer == name ? info.tokenizer_checksum : "";
  }
  const fs::path file = saved.weights.filename();
  const bool in_own_folder = file == model::kWeightsFile || file == model::kShardsFile;
  return in_own_folder ? checksum_in_folder(saved.weights.parent_path(), name) : "";
}

}  // namespace

std::string doubt_of_tokens(const SavedModel& saved, const fs::path& data) {
  const data::DatasetInfo info = data::read_dataset_info(data);
  if (info.kind != data::DatasetInfo::Kind::tokens || info.tokenizer_checksum.empty()) return "";
  const std::string known = known_checksum(saved, info.tokenizer);
  if (known.empty() || known == info.tokenizer_checksum) return "";
  return fmt::format(
      "--init: {} was not trained on tokens as {} has them: vocabulary or merges of '{}' differ; unless that is meant, "
      "convert the text with the tokenizer of these weights",
      printable(saved.weights.string()), printable(data.string()), info.tokenizer);
}

}  // namespace lshdp::train
