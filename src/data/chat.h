// Chats as the templates of well-known models write them, without a template engine.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "lshdp/core/json.h"
#include "lshdp/data/converters.h"

namespace lshdp::data {

struct ChatMessage {
  std::string role, content;
};

/// The messages under `key` of a record: {"role": .., "content": ..}, with the roles system, user and assistant. Throws
/// UsageError naming `source`: malformed, or a role or key that the templates here do not write.
std::vector<ChatMessage> chat_messages(const Json& record, const std::string& key, const std::string& source);

/// A stretch of a chat: a special token, or text, which is tokenized in one piece.
struct ChatPart {
  std::string text;
  bool special = false;
  bool trained = false;     // what the assistant says, and the token that ends it
  std::size_t heading = 0;  // bytes at the text's begin that are not trained: what the template puts before it
};

/// What the template makes of the messages.
std::vector<ChatPart> chat_parts(ChatTemplate style, const std::vector<ChatMessage>& messages);

}  // namespace lshdp::data
