// Readers of tokenizer.json, of GPT-2's two files, of the patterns in them; and Unicode's form C.
#include <filesystem>

#include <gtest/gtest.h>

#include "composer.h"
#include "json_tokenizer.h"
#include "lshdp/core/file.h"
#include "reader.h"
#include "scratch_file.h"
#include "split_pattern.h"
#include "word_splitter.h"

namespace lshdp::test {
namespace {

constexpr const char* kText = "It's 123 e\u0301t\u00e9  \n\n\u4f60\u597d <|endoftext|>\xff, don't!";

std::filesystem::path tokenizers() {
  return std::filesystem::path(LSHDP_TEST_DATA).parent_path().parent_path() / "data" / "data" / "tokenizers";
}

/// A tokenizer.json with the bytes as its only tokens, so that mutations meet what is around them as well.
Json small(const char* kind) {
  Json file = read_json(tokenizers() / kind / "tokenizer.json");
  const Json qwen = read_json(tokenizers() / "qwen" / "tokenizer.json");
  Json bytes = Json::object();
  for (const auto& [token, number] : qwen["model"]["vocab"].items()) {
    if (number < 256) bytes[token] = number;
  }
  file["model"]["vocab"] = bytes;
  file["model"]["merges"] = Json::array();
  std::uint32_t next = 256;
  for (Json& token : file["added_tokens"]) token["id"] = next++;
  if (std::string(kind) == "llama3")
    file["post_processor"]["processors"][1]["special_tokens"]["<|begin_of_text|>"]["ids"][0] = 256;
  return file;
}

/// The first tokens of Llama 2's kind are its special ones and the bytes.
Json small_llama2(bool metaspace) {
  Json file = read_json(tokenizers() / "llama2" / "tokenizer.json");
  Json first = Json::object();
  for (const auto& [token, number] : file["model"]["vocab"].items()) {
    if (number < 3 + 256) first[token] = number;
  }
  file["model"]["vocab"] = first;
  file["model"]["merges"] = Json::array();
  if (!metaspace) return file;
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}, {"split", true}};
  return file;
}

std::vector<Json> tokenizer_files() {
  return {small("llama3"), small("qwen"), small("gpt2"), small_llama2(false), small_llama2(true)};
}

void read_tokenizer(const Json& file) {
  const auto tokenizer = data::parse_tokenizer(json_text(file), "F");
  for (const std::uint32_t token : tokenizer->encode_special(kText)) EXPECT_LT(token, tokenizer->vocabulary());
}

std::filesystem::path gpt2_files() { return tokenizers().parent_path() / "bpe"; }

void encode_and_decode(const data::Tokenizer& tokenizer) {
  const std::vector<std::uint32_t> tokens = tokenizer.encode(kText);
  EXPECT_EQ(tokenizer.decode(std::vector<std::int64_t>(tokens.begin(), tokens.end())), kText);
}

void read_vocabulary(const Json& vocabulary) {
  const ScratchFile file(json_text(vocabulary));
  encode_and_decode(*data::make_gpt2_tokenizer(file.path(), gpt2_files() / "merges.txt"));
}

void read_merges(const std::string& merges) {
  const ScratchFile file(merges);
  encode_and_decode(*data::make_gpt2_tokenizer(gpt2_files() / "vocab.json", file.path()));
}

std::vector<std::string> patterns() {
  const Json llama3 = read_json(tokenizers() / "llama3" / "tokenizer.json");
  const std::string pattern = llama3["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
  return {std::string(data::kGpt2SplitPattern), pattern, R"([^\r\n\p{L}]?+\p{L}{1,3}|(?:a|b(?=c))++)"};
}

void split_by(const std::string& pattern) {
  std::string joined;
  data::WordSplitter(pattern, "F").for_each_word(kText, [&](std::string_view word) { joined += word; });
  EXPECT_EQ(joined, kText);
}

std::vector<std::string> texts() {
  return {kText, "e\u0301\u0316\u0344", "\u1100\u1161\u11a8\uac00\u11a8", "\u0cc6\u0cc2\u0cd5 \U0001109b\U000110ba"};
}

void compose(const std::string& text) {
  static const data::Composer composer;
  const std::string once = composer(text);
  EXPECT_EQ(composer(once), once);
}

}  // namespace

std::vector<Reader> readers() {
  return {json_reader("Tokenizer", tokenizer_files, read_tokenizer),
          json_reader(
              "Vocabulary", [] { return std::vector{read_json(gpt2_files() / "vocab.json")}; }, read_vocabulary),
          {"Merges", [] { return std::vector{read_file(gpt2_files() / "merges.txt")}; }, read_merges},
          {"SplitPattern", patterns, split_by},
          {"Composer", texts, compose}};
}

}  // namespace lshdp::test
