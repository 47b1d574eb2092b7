// The options that name a tokenizer, and the tokenizer that belongs to saved weights.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "lshdp/cli/options.h"
#include "lshdp/data/tokenizer.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::cli {

/// Defines --tokenizer, --encoder and --vocab-bpe. With `by_weights`, --tokenizer has no default.
void add_tokenizer_options(Options& options, bool by_weights);

/// As the options say. Throws UsageError: gpt2 without its files, files without gpt2, a tokenizer.json that cannot be
/// used.
std::unique_ptr<data::Tokenizer> tokenizer_by_options(const Values& values);
/// The files that the options name.
std::vector<std::filesystem::path> tokenizer_files(const Values& values);

/// As the options say, or as it lies beside the weights: tokenizer.json, or else vocab.json and merges.txt, of the run
/// that they are of, or of their folder, or a run of bytes. Otherwise a model of 256 tokens, or some more, is one of
/// bytes. Throws UsageError if nothing says which, or the run was trained with another.
std::unique_ptr<data::Tokenizer> tokenizer_of_weights(const Values& values, const train::SavedModel& saved,
                                                      std::int64_t model_vocabulary);

}  // namespace lshdp::cli
