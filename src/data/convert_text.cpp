// Text, and files of tokens, as data sets.
#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "chat.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/data/converters.h"
#include "packing.h"
#include "text_matcher.h"
#include "text_reader.h"
#include "token_file.h"
#include "token_output.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;
using Documents = TextOptions::Documents;
using Tokens = std::vector<std::uint32_t>;

std::string names_of(const std::vector<fs::path>& files) {
  constexpr std::size_t shown = 3;
  std::string names;
  for (std::size_t i = 0; i < std::min(files.size(), shown); ++i)
    names += (i == 0 ? "" : " ") + files[i].filename().string();
  return files.size() > shown ? fmt::format("{} and {} more", names, files.size() - shown) : names;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos; }

/// Calls f(document) for each run of lines that are not blank.
template <typename F>
void for_each_paragraph(std::string_view text, F f) {
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t found = text.find('\n', at);
    const std::size_t end = found == std::string_view::npos ? text.size() : found + 1;
    if (is_blank(text.substr(at, end - at))) {
      if (at > begin) f(text.substr(begin, at - begin));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) f(text.substr(begin));
}

/// Calls f(record, what to call it) for each line's record. Empty lines are left out.
template <typename F>
void for_each_record(std::string_view lines, const fs::path& file, F f) {
  std::int64_t number = 0;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    const std::string_view line = lines.substr(at, end - at);
    at = end + 1;
    ++number;
    if (is_blank(line)) continue;
    const std::string source = fmt::format("{}: record in line {}", file.string(), number);
    f(parse_json(line, source), source);
  }
}

/// The texts of a record.
std::vector<std::string> texts_of(const Json& record, const std::vector<std::string>& fields,
                                  const std::string& source) {
  std::vector<std::string> texts;
  for (const std::string& field : fields) {
    if (record.is_object() && record.contains(field) && record[field].is_array())
      throw UsageError(
          fmt::format("{}: \"{}\" is a list; if it is a chat's messages, give --chat-template", source, field));
    texts.push_back(json_value<std::string>(record, field, source));
  }
  return texts;
}

std::string without_end_of_text(const std::string& tokenizer) {
  constexpr std::string_view problem = "the tokenizer has no token that ends documents, which --separator is about";
  if (tokenizer == "byte")
    return fmt::format("{}; take --tokenizer gpt2 or a tokenizer.json, or --separator none", problem);
  if (tokenizer == "gpt2") return fmt::format("{}; add {} to the encoder", problem, kEndOfText);
  return fmt::format("{}; make {} a special one of its added_tokens", problem, fmt::join(kEndsOfText, " or "));
}

/// True if `text` holds one.
bool note_special(std::string_view text, const TextMatcher& special, const fs::path& file, TextReader& reader) {
  const TextMatcher::Match found = special.find(text, 0);
  if (found.begin == text.size()) return false;
  reader.note(
      fmt::format("holds {}, which is taken as text; --special takes it for the token", special.texts()[found.number]),
      file);
  return true;
}

/// Collects the tokens of texts and documents.
class TextEncoder {
 public:
  TextEncoder(const Tokenizer& tokenizer, const TextOptions& options) : tokenizer_(tokenizer), options_(options) {
    const bool chats = options.chat_template != ChatTemplate::none;
    if (options.documents != Documents::none && !tokenizer.end_of_text() && (!chats || options.pad_to > 0))
      throw UsageError(without_end_of_text(tokenizer.name()));
    if (options.special && tokenizer.special_tokens().empty())
      throw UsageError("--special: the tokenizer has no special tokens");
    if (masked() && options.documents == Documents::none)
      throw UsageError(
          "prompts, padding and packing are of documents; leave out --separator none, or give one with --pad-to and "
          "--packing");
  }

  /// Whether some tokens are not trained.
  bool masked() const {
    return options_.fields.size() > 1 || options_.pad_to > 0 || options_.packs_documents ||
           options_.chat_template != ChatTemplate::none;
  }

  void add_chat(const std::vector<ChatMessage>& messages) {
    begun_ = all_.tokens.size();
    for (const ChatPart& part : chat_parts(options_.chat_template, messages)) {
      if (part.special)
        all_.push(chat_token(part.text), part.trained);
      else
        append_behind(part);
    }
    finish_document();
  }

  void add_pair(const std::string& prompt, const std::string& completion) {
    begin_document();
    append(prompt, false);
    append(completion, true);
    end_document();
  }

  void add(std::string_view text) {
    if (options_.documents == Documents::none) {
      one_text_ += text;
    } else if (options_.documents == Documents::blank_lines) {
      for_each_paragraph(text, [&](std::string_view document) { add_document(document); });
    } else if (!text.empty()) {
      add_document(text);
    }
  }

  /// No more is added.
  void finish() {
    append(std::exchange(one_text_, {}), true);
    if (options_.pad_to == 0 || all_.tokens.empty()) return;
    const std::uint32_t padding = *tokenizer_.end_of_text();
    if (options_.packs_documents) all_ = packed(all_, options_.pad_to, padding);
    all_.push(padding, false, true);  // the last sample's last target
  }
  const Tokens& tokens() const { return all_.tokens; }
  TokenMarks marks() const {
    TokenMarks marks;
    if (masked()) marks.trained = all_.trained;
    if (options_.packs_documents) marks.starts = all_.starts;
    return marks;
  }

 private:
  void begin_document() {
    begun_ = all_.tokens.size();
    if (const auto begin = tokenizer_.begin_of_text()) all_.push(*begin, true);
  }
  void end_document() {
    all_.push(*tokenizer_.end_of_text(), true);
    finish_document();
  }
  void finish_document() {
    all_.starts[begun_] = 1;
    all_.trained[begun_] = 0;  // nothing of the document tells it
    if (options_.packs_documents) return;
    const auto window = static_cast<std::size_t>(options_.pad_to);
    while (window > 0 && all_.tokens.size() % window != 0) all_.push(*tokenizer_.end_of_text(), false);
  }

  std::uint32_t chat_token(const std::string& text) {
    const auto [known, fresh] = chat_tokens_.try_emplace(text, 0);
    if (!fresh) return known->second;
    const Tokens tokens = tokenizer_.encode_special(text);
    if (tokens.size() != 1)
      throw UsageError(
          fmt::format("--chat-template: the tokenizer has no special token {}; is it that of a chat model?", text));
    return known->second = tokens.front();
  }
  /// A token that holds the end of the heading and more belongs to what follows.
  void append_behind(const ChatPart& part) {
    const std::size_t heading = bytes_of(tokenizer_.encode_behind(part.text.substr(0, part.heading), false));
    std::size_t bytes = 0;
    for (const std::uint32_t token : tokenizer_.encode_behind(part.text, options_.special)) {
      if (part.trained && bytes <= heading) bytes += bytes_of({token});
      all_.push(token, part.trained && bytes > heading);
    }
  }
  std::size_t bytes_of(const Tokens& tokens) const {
    return tokenizer_.decode(std::vector<std::int64_t>(tokens.begin(), tokens.end())).size();
  }

  void add_document(std::string_view text) {
    begin_document();
    append(text, true);
    end_document();
  }

  void append(std::string_view text, bool trained) {
    const Tokens more = options_.special ? tokenizer_.encode_special(text) : tokenizer_.encode(text);
    all_.tokens.insert(all_.tokens.end(), more.begin(), more.end());
    all_.trained.resize(all_.tokens.size(), trained ? 1 : 0);
    all_.starts.resize(all_.tokens.size(), 0);
  }

  const Tokenizer& tokenizer_;
  const TextOptions& options_;
  std::string one_text_;                              // where there are no documents
  std::map<std::string, std::uint32_t> chat_tokens_;  // by text
  MarkedTokens all_;
  std::size_t begun_ = 0;  // the document in hand
};

void require_below(std::span<const std::uint32_t> tokens, std::int64_t first, std::int64_t vocabulary,
                   const fs::path& path) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= vocabulary) {
      throw UsageError(fmt::format("{}: token {} is {}; with a vocabulary of {} it must be from 0 to {}", path.string(),
                                   first + static_cast<std::int64_t>(i), tokens[i], vocabulary, vocabulary - 1));
    }
  }
}

std::int64_t largest(const std::vector<TokenFile>& files) {
  std::int64_t most = 0;
  for (const TokenFile& file : files) {
    file.for_each_block([&](std::span<const std::uint32_t> tokens, std::int64_t) {
      most = std::max<std::int64_t>(most, *std::max_element(tokens.begin(), tokens.end()));
    });
  }
  return most;
}

}  // namespace

void convert_text(const std::vector<fs::path>& files, const Tokenizer& tokenizer, const TextOptions& options,
                  const TokenOutput& output) {
  TextReader reader(options.encoding);
  TextEncoder encoder(tokenizer, options);
  const TextMatcher special(options.special ? std::vector<std::string>() : tokenizer.special_tokens());
  for (const fs::path& file : files) {
    const std::string content = reader.read(file);
    bool noted = false;
    const auto add = [&](std::string_view text) {
      if (!noted) noted = note_special(text, special, file, reader);
      encoder.add(text);
    };
    if (options.fields.empty()) {
      add(content);
      continue;
    }
    for_each_record(content, file, [&](const Json& record, const std::string& source) {
      if (options.chat_template != ChatTemplate::none) {
        const std::vector<ChatMessage> messages = chat_messages(record, options.fields.front(), source);
        for (const ChatMessage& message : messages)
          noted = noted || note_special(message.content, special, file, reader);
        return encoder.add_chat(messages);
      }
      const std::vector<std::string> texts = texts_of(record, options.fields, source);
      if (texts.size() == 1) return add(texts.front());
      for (const std::string& text : texts) noted = noted || note_special(text, special, file, reader);
      encoder.add_pair(texts.front(), texts.back());
    });
  }
  encoder.finish();
  const Tokens& tokens = encoder.tokens();
  if (tokens.empty()) throw UsageError(fmt::format("{}: holds no text", names_of(files)));
  reader.warn();
  SplitTokenWriter writer(output, static_cast<std::int64_t>(tokens.size()), tokenizer.vocabulary(),
                          {.trained = encoder.masked(), .starts = options.packs_documents});
  writer.add(tokens, encoder.marks());
  writer.commit(tokenizer.record(), fmt::format("text {}", names_of(files)), options.pad_to);
}

void convert_tokens(const std::vector<fs::path>& paths, const TokenFormat& format, std::int64_t vocabulary,
                    const TokenOutput& output) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  std::vector<TokenFile> files;
  std::int64_t count = 0;
  for (const fs::path& path : paths) {
    count += files.emplace_back(path, format).count();
    if (const std::string doubt = files.back().doubt(); !doubt.empty()) spdlog::warn("{}: {}", path.string(), doubt);
  }
  const std::int64_t known = vocabulary == 0 ? largest(files) + 1 : vocabulary;
  if (known < 1 || known > most)
    throw UsageError(fmt::format("a vocabulary of {}; it must be from 1 to {}", known, most));
  SplitTokenWriter writer(output, count, known);
  for (const TokenFile& file : files) {
    file.for_each_block([&](std::span<const std::uint32_t> tokens, std::int64_t first) {
      require_below(tokens, first, known, file.path());
      writer.add(tokens);
    });
  }
  writer.commit({}, fmt::format("tokens {}", names_of(paths)));
}

}  // namespace lshdp::data
