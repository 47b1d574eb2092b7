// Whether data sets fit each other, the model, and what is asked of them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>

#include "lshdp/data/dataset.h"
#include "lshdp/data/loader.h"

namespace lshdp::train {

/// A data set that was opened, and what to call it.
struct NamedInfo {
  const std::filesystem::path& path;
  const data::DatasetInfo& info;
};

/// Throws UsageError if tokens of the two sets are known to mean different things: another tokenizer, vocabulary or
/// merges. Tokens whose tokenizer is not known may be anything.
void require_same_tokenizer(const NamedInfo& training, const NamedInfo& evaluation);

/// Throws UsageError unless a model with `model_vocabulary` tokens can have been made for a tokenizer of `vocabulary`
/// tokens, called `tokenizer` (empty: not known, then only a model that is too small is refused). Some tokens more are
/// usual, for speed; twice as many are another tokenizer's. `what` begins the message.
void require_vocabulary(const std::string& what, const std::string& tokenizer, std::int64_t vocabulary,
                        std::int64_t model_vocabulary);

/// Whether samples of any of these data sets hold several documents that are kept apart; empty names are left out.
/// Throws UsageError where one cannot be read.
bool hold_documents(std::initializer_list<std::filesystem::path> paths);

/// Throws UsageError naming the option if the data set cannot be augmented so: tokens, or images that a crop could
/// miss.
void require_augmentation(const NamedInfo& training, const data::Augmentation& augmentation);

/// Writes vocab.json and merges.txt, or tokenizer.json, as Hugging Face's folders have them, into `folder` if the data
/// set carries a tokenizer that has files. Throws WriteError.
void keep_tokenizer(const std::filesystem::path& data, const std::filesystem::path& folder);

}  // namespace lshdp::train
