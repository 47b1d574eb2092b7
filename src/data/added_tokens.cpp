// Added tokens by their texts.
#include "added_tokens.h"

#include <utility>

namespace lshdp::data {
namespace {

std::vector<std::string> texts_of(const std::vector<AddedToken>& tokens) {
  std::vector<std::string> texts;
  for (const AddedToken& token : tokens) texts.push_back(token.text);
  return texts;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), matcher_(texts_of(tokens_)) {}

}  // namespace lshdp::data
