// What the descriptions of all models of texts share: lengths of sequences, and keys that say nothing of the network.
#pragma once
#include <cstdint>

#include "description.h"
#include "lshdp/model/model.h"

namespace lshdp::model {

/// Reads "context", the tokens a sequence for training: from 1 to the positions, which it is where it is left out.
InputSpec read_text_input(Description& description, std::int64_t positions, std::int64_t vocabulary);
/// Enters "context" where it is not the positions.
void describe_context(Json& description, const InputSpec& input);

/// Accepts the keys of Hugging Face's config.json that are about names, labels, other heads, generation or files.
void ignore_other_keys(Description& description);

}  // namespace lshdp::model
