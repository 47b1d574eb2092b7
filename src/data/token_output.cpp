// The split of a stream of tokens: its last part is for validation.
#include "token_output.h"

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::data {
namespace {

/// However the file is spelled; it need not be there yet.
std::filesystem::path place_of(const std::filesystem::path& file) {
  return std::filesystem::weakly_canonical(std::filesystem::absolute(file));
}

std::int64_t training_count(const TokenOutput& output, std::int64_t count) {
  if (count < 1) throw UsageError(fmt::format("{}: there are no tokens to write", output.path.string()));
  if (!output.validation_path) return count;
  if (place_of(*output.validation_path) == place_of(output.path)) {
    throw UsageError(fmt::format("{}: training and validation need two files", output.path.string()));
  }
  const double fraction = output.validation_fraction;
  const auto validation =
      fraction > 0 && fraction < 1 ? static_cast<std::int64_t>(static_cast<double>(count) * fraction) : 0;
  if (validation < 1 || validation >= count) {
    throw UsageError(fmt::format("a validation fraction of {} leaves no tokens on one side of {}", fraction, count));
  }
  return count - validation;
}

}  // namespace

SplitTokenWriter::SplitTokenWriter(const TokenOutput& output, std::int64_t count, std::int64_t vocabulary,
                                   const TokenWriter::Marked& marked)
    : left_in_training_(training_count(output, count)), training_(output.path, left_in_training_, vocabulary, marked) {
  if (output.validation_path)
    validation_.emplace(*output.validation_path, count - left_in_training_, vocabulary, marked);
}

void SplitTokenWriter::add(std::span<const std::uint32_t> tokens, const TokenMarks& marks) {
  const auto first = static_cast<std::size_t>(std::min(left_in_training_, static_cast<std::int64_t>(tokens.size())));
  const auto front = [&](std::span<const std::uint8_t> all) { return all.empty() ? all : all.first(first); };
  const auto rest = [&](std::span<const std::uint8_t> all) { return all.empty() ? all : all.subspan(first); };
  training_.add(tokens.first(first), {front(marks.trained), front(marks.starts)});
  left_in_training_ -= static_cast<std::int64_t>(first);
  if (first < tokens.size()) validation_.value().add(tokens.subspan(first), {rest(marks.trained), rest(marks.starts)});
}

void SplitTokenWriter::commit(const TokenizerRecord& tokenizer, const std::string& source, std::int64_t padded_to) {
  training_.commit(tokenizer, source, padded_to);
  if (validation_) validation_->commit(tokenizer, source, padded_to);
}

}  // namespace lshdp::data
