// Text, and files of tokens, as data sets.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/data/converters.h"
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

/// Collects the tokens of texts and documents.
class TextEncoder {
 public:
  TextEncoder(const Tokenizer& tokenizer, const TextOptions& options) : tokenizer_(tokenizer), options_(options) {
    const bool needed = options.special || options.documents != Documents::none;
    if (!needed || tokenizer.end_of_text()) return;
    throw UsageError(fmt::format("the tokenizer has no token {}, which --separator and --special are about; {}",
                                 kEndOfText,
                                 tokenizer.name() == "byte" ? "take --tokenizer gpt2" : "add it to the encoder"));
  }

  void add_text(std::string_view text) {
    while (options_.special) {
      const std::size_t found = text.find(kEndOfText);
      if (found == std::string_view::npos) break;
      append(text.substr(0, found));
      tokens_.push_back(*tokenizer_.end_of_text());
      text.remove_prefix(found + kEndOfText.size());
    }
    append(text);
  }

  void add_file(std::string_view text) {
    const auto add_document = [&](std::string_view document) {
      add_text(document);
      tokens_.push_back(*tokenizer_.end_of_text());
    };
    if (options_.documents == Documents::blank_lines) return for_each_paragraph(text, add_document);
    if (!text.empty()) add_document(text);
  }

  const Tokens& tokens() const { return tokens_; }

 private:
  void append(std::string_view text) {
    const Tokens more = tokenizer_.encode(text);
    tokens_.insert(tokens_.end(), more.begin(), more.end());
  }

  const Tokenizer& tokenizer_;
  const TextOptions& options_;
  Tokens tokens_;
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
  std::string one_text;
  for (const fs::path& file : files) {
    const std::string text = reader.read(file);
    if (!options.special && tokenizer.end_of_text() && text.find(kEndOfText) != std::string::npos)
      reader.note(fmt::format("holds {}, which is taken as text; --special takes it for the token", kEndOfText), file);
    if (options.documents == Documents::none) {
      one_text += text;
    } else {
      encoder.add_file(text);
    }
  }
  encoder.add_text(one_text);
  if (encoder.tokens().empty()) throw UsageError(fmt::format("{}: holds no text", names_of(files)));
  reader.warn();
  SplitTokenWriter writer(output, static_cast<std::int64_t>(encoder.tokens().size()), tokenizer.vocabulary());
  writer.add(encoder.tokens());
  writer.commit(tokenizer.record(), fmt::format("text {}", names_of(files)));
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
