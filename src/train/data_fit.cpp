// Checks before anything is trained.
#include "lshdp/train/data_fit.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"

namespace lshdp::train {
namespace {

using data::DatasetInfo;

std::string tokenizer_of(const DatasetInfo& info) {
  return fmt::format("'{}' with {} tokens", info.tokenizer, info.vocabulary);
}

}  // namespace

void require_same_tokenizer(const NamedInfo& training, const NamedInfo& evaluation) {
  const DatasetInfo &a = training.info, &b = evaluation.info;
  if (a.kind != DatasetInfo::Kind::tokens || b.kind != DatasetInfo::Kind::tokens) return;
  if (a.tokenizer.empty() || b.tokenizer.empty()) return;
  const bool same_files =
      a.tokenizer_checksum.empty() || b.tokenizer_checksum.empty() || a.tokenizer_checksum == b.tokenizer_checksum;
  if (a.tokenizer == b.tokenizer && a.vocabulary == b.vocabulary && same_files) return;
  if (a.tokenizer == b.tokenizer && a.vocabulary == b.vocabulary) {
    throw UsageError(
        fmt::format("{} and {} were made with other vocabularies or merges of the tokenizer '{}'; convert "
                    "both with the same files",
                    training.path.string(), evaluation.path.string(), a.tokenizer));
  }
  throw UsageError(fmt::format("{} was made with the tokenizer {}, {} with {}; convert both with the same",
                               training.path.string(), tokenizer_of(a), evaluation.path.string(), tokenizer_of(b)));
}

void require_vocabulary(const std::string& what, const std::string& tokenizer, std::int64_t vocabulary,
                        std::int64_t model_vocabulary) {
  if (vocabulary > model_vocabulary) {
    throw UsageError(
        fmt::format("{}: vocabulary of {}, but the model's vocab_size is {}", what, vocabulary, model_vocabulary));
  }
  if (!tokenizer.empty() && model_vocabulary > 2 * vocabulary) {
    throw UsageError(
        fmt::format("{}: the tokenizer '{}' has {} tokens, but the model's vocab_size is {}: it is made for "
                    "another tokenizer",
                    what, tokenizer, vocabulary, model_vocabulary));
  }
}

bool hold_documents(std::initializer_list<std::filesystem::path> paths) {
  return std::ranges::any_of(paths,
                             [](const auto& path) { return !path.empty() && data::read_dataset_info(path).documents; });
}

void require_augmentation(const NamedInfo& training, const data::Augmentation& augmentation) {
  const DatasetInfo& info = training.info;
  if (info.kind == DatasetInfo::Kind::tokens) {
    const char* option = augmentation.horizontal_flip    ? "--flip"
                         : augmentation.crop_padding > 0 ? "--crop-padding"
                                                         : nullptr;
    if (option == nullptr) return;
    throw UsageError(
        fmt::format("{} is for images, but {} holds tokens; leave it out", option, training.path.string()));
  }
  const std::int64_t shorter = std::min(info.height, info.width);
  if (augmentation.crop_padding < shorter) return;
  throw UsageError(
      fmt::format("--crop-padding: {} is too large for {}, whose images are {} x {}: crops could miss the "
                  "image; take less than {}",
                  augmentation.crop_padding, training.path.string(), info.height, info.width, shorter));
}

void keep_tokenizer(const std::filesystem::path& data, const std::filesystem::path& folder) {
  const data::TokenizerRecord record = data::read_tokenizer(data);
  if (!record.tokenizer_json.empty()) write_file(folder / "tokenizer.json", record.tokenizer_json);
  if (record.vocabulary_json.empty() || record.merges_text.empty()) return;
  write_file(folder / "vocab.json", record.vocabulary_json);
  write_file(folder / "merges.txt", record.merges_text);
}

}  // namespace lshdp::train
