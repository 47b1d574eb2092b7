// The tokenizer that the text of a tokenizer.json describes.
#pragma once
#include <memory>
#include <string>

#include "lshdp/data/tokenizer.h"

namespace lshdp::data {

/// As make_tokenizer(). Throws UsageError naming `source`.
std::unique_ptr<Tokenizer> parse_tokenizer(std::string text, const std::string& source);

}  // namespace lshdp::data
