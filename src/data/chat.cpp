// Two families of templates: ChatML's, and that of Llama 3.
#include "chat.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "utf8.h"

namespace lshdp::data {
namespace {

constexpr std::string_view kSystem = "system", kAssistant = "assistant";
constexpr std::string_view kQwenSystem = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
// Llama 3.1 begins with the two dates, whatever the day; 3.2 writes the day of the call.
constexpr std::string_view kLlamaDates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
constexpr std::string_view kBegin = "<|im_start|>", kEnd = "<|im_end|>";
constexpr std::string_view kBeginOfText = "<|begin_of_text|>", kBeginHeader = "<|start_header_id|>",
                           kEndHeader = "<|end_header_id|>", kEndOfTurn = "<|eot_id|>";

constexpr std::string_view kRemedy =
    "apply the model's own template elsewhere (in Python: tokenizer.apply_chat_template) and give its text with "
    "--special";

bool is_space(std::uint32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/// Without blanks at both ends, those that Python's str.strip() takes.
std::string_view trimmed(std::string_view text) {
  std::size_t first = text.size(), last = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character character = utf8_character(text, at);
    if (!character.valid || !is_space(character.code)) {
      first = std::min(first, at);
      last = at + character.size;
    }
    at += character.size;
  }
  return first < last ? text.substr(first, last - first) : std::string_view();
}

ChatPart special(std::string_view token, bool trained = false) {
  return {.text = std::string(token), .special = true, .trained = trained};
}

/// `content` behind `heading`.
ChatPart said(const ChatMessage& message, std::string_view heading, std::string_view content) {
  return {.text = std::string(heading) + std::string(content),
          .trained = message.role == kAssistant,
          .heading = heading.size()};
}

std::vector<ChatPart> chatml(std::vector<ChatMessage> messages, bool qwen) {
  if (qwen && messages.front().role != kSystem)
    messages.insert(messages.begin(), {std::string(kSystem), std::string(kQwenSystem)});
  std::vector<ChatPart> parts;
  for (const ChatMessage& message : messages) {
    parts.push_back(special(kBegin));
    parts.push_back(said(message, message.role + "\n", message.content));
    parts.push_back(special(kEnd, message.role == kAssistant));
    parts.push_back({.text = "\n"});
  }
  return parts;
}

std::vector<ChatPart> llama3(std::vector<ChatMessage> messages, bool dated) {
  for (ChatMessage& message : messages) message.content = std::string(trimmed(message.content));
  if (dated) {
    if (messages.front().role != kSystem) messages.insert(messages.begin(), {std::string(kSystem), ""});
    messages.front().content.insert(0, kLlamaDates);
  }
  std::vector<ChatPart> parts{special(kBeginOfText)};
  for (const ChatMessage& message : messages) {
    parts.push_back(special(kBeginHeader));
    parts.push_back({.text = message.role});
    parts.push_back(special(kEndHeader));
    parts.push_back(said(message, "\n\n", message.content));
    parts.push_back(special(kEndOfTurn, message.role == kAssistant));
  }
  return parts;
}

ChatMessage message_of(const Json& message, const std::string& source) {
  if (!message.is_object()) throw UsageError(fmt::format("{} must be an object with role and content", source));
  for (const auto& [key, value] : message.items()) {
    if (key != "role" && key != "content" && !value.is_null())
      throw UsageError(fmt::format("{}: \"{}\" is not supported by --chat-template; {}", source, key, kRemedy));
  }
  ChatMessage read{json_value<std::string>(message, "role", source),
                   json_value<std::string>(message, "content", source)};
  constexpr std::array<std::string_view, 3> roles{kSystem, "user", kAssistant};
  if (std::ranges::find(roles, read.role) == roles.end())
    throw UsageError(fmt::format("{}: role '{}' is not supported by --chat-template; {}", source, read.role, kRemedy));
  return read;
}

}  // namespace

std::vector<ChatMessage> chat_messages(const Json& record, const std::string& key, const std::string& source) {
  const auto found = record.is_object() ? record.find(key) : record.end();
  if (!record.is_object() || found == record.end()) throw UsageError(fmt::format("{}: \"{}\" is missing", source, key));
  if (!found->is_array() || found->empty())
    throw UsageError(fmt::format("{}: \"{}\" must be a list of messages", source, key));
  std::vector<ChatMessage> messages;
  for (std::size_t i = 0; i < found->size(); ++i)
    messages.push_back(message_of((*found)[i], fmt::format("{}: \"{}[{}]\"", source, key, i)));
  return messages;
}

std::vector<ChatPart> chat_parts(ChatTemplate style, const std::vector<ChatMessage>& messages) {
  const bool of_chatml = style == ChatTemplate::chatml || style == ChatTemplate::qwen;
  return of_chatml ? chatml(messages, style == ChatTemplate::qwen) : llama3(messages, style == ChatTemplate::llama3_1);
}

}  // namespace lshdp::data
