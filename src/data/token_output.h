// Tokens written to one data set, or to a training and a validation part.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "lshdp/data/converters.h"

namespace lshdp::data {

class SplitTokenWriter {
 public:
  /// `count` tokens in all. Throws UsageError if there are none, a part would be empty, or both parts have one name.
  SplitTokenWriter(const TokenOutput& output, std::int64_t count, std::int64_t vocabulary,
                   const TokenWriter::Marked& marked = {});
  /// See TokenWriter.
  void add(std::span<const std::uint32_t> tokens, const TokenMarks& marks = {});
  void commit(const TokenizerRecord& tokenizer, const std::string& source, std::int64_t padded_to = 0);

 private:
  std::int64_t left_in_training_;
  TokenWriter training_;
  std::optional<TokenWriter> validation_;
};

}  // namespace lshdp::data
