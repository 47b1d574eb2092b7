// Whether tokens to train on are those that the weights to begin with know.
#pragma once
#include <filesystem>
#include <string>

#include "lshdp/train/saved_model.h"

namespace lshdp::train {

/// What to say where `data` holds tokens of another tokenizer than that of the weights `saved`: by the record of their
/// run, or by the tokenizer files of their folder. Empty: they are the same, or not known to differ. Throws UsageError:
/// files that cannot be read.
std::string doubt_of_tokens(const SavedModel& saved, const std::filesystem::path& data);

}  // namespace lshdp::train
