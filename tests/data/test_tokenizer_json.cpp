// Tokenizers by tokenizer.json: the tokens of the `tokenizers` library, and the files that are refused.
#include <map>
#include <random>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/data/tokenizer.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using lshdp::test::TemporaryDirectory;
using testing::ElementsAre;
using testing::HasSubstr;
using Tokens = std::vector<std::uint32_t>;

/// Made by scripts/make_tokenizer_references.py with the `tokenizers` library.
std::filesystem::path reference(const std::string& kind, const char* name) {
  return std::filesystem::path(LSHDP_TEST_DATA) / "tokenizers" / kind / name;
}

std::string decoded(const Tokenizer& tokenizer, const Tokens& tokens) {
  return tokenizer.decode(std::vector<std::int64_t>(tokens.begin(), tokens.end()));
}

class KindsOfTokenizer : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> make() const { return make_tokenizer(reference(GetParam(), "tokenizer.json")); }
  Json cases() const { return read_json(reference(GetParam(), "cases.json")); }
};

TEST_P(KindsOfTokenizer, GiveTheTokensOfTheLibraryInEveryScript) {
  const auto tokenizer = make();
  EXPECT_GT(cases().size(), 300U);
  int special = 0;
  for (const Json& each : cases()) {
    const std::string text = each["text"];
    EXPECT_EQ(tokenizer->encode(text), each["ids"].get<Tokens>()) << text;
    special += each.contains("special_ids") ? 1 : 0;
    const auto& with_special = each.contains("special_ids") ? each["special_ids"] : each["ids"];
    EXPECT_EQ(tokenizer->encode_special(text), with_special.get<Tokens>()) << text;
  }
  EXPECT_GT(special, 2);
}

TEST_P(KindsOfTokenizer, GiveTheTextBack) {
  const auto tokenizer = make();
  if (std::string(GetParam()) == "llama2") GTEST_SKIP() << "puts a blank before each text";
  const bool changes = std::string(GetParam()) != "llama3";  // to NFC, or by a blank before the text
  for (const Json& each : cases()) {
    const std::string text = each["text"], back = decoded(*tokenizer, tokenizer->encode(text));
    EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(back)), back) << text;
    if (changes) continue;
    EXPECT_EQ(back, text);
    EXPECT_EQ(decoded(*tokenizer, tokenizer->encode_special(text)), text);
  }
}

TEST_P(KindsOfTokenizer, TakeBytesThatAreNoText) {
  const auto tokenizer = make();
  if (std::string(GetParam()) == "llama2") GTEST_SKIP() << "puts a blank before each text";
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string text = " ";
    for (std::size_t length = random() % 60; length > 0; --length) text += static_cast<char>(random());
    const std::string back = decoded(*tokenizer, tokenizer->encode(text));
    EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(back)), back);
    EXPECT_TRUE(back == text || std::string(GetParam()) == "qwen");
  }
  EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(" \xff\xc3")), " \xff\xc3");
}

INSTANTIATE_TEST_SUITE_P(Models, KindsOfTokenizer, testing::Values("llama3", "qwen", "gpt2", "llama2"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(CharactersWithBytes, GiveTheTextBackBehindABlank) {
  const auto tokenizer = make_tokenizer(reference("llama2", "tokenizer.json"));
  EXPECT_EQ(*tokenizer->begin_of_text(), 1);
  EXPECT_EQ(*tokenizer->end_of_text(), 2);
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (std::size_t length = random() % 60 + 1; length > 0; --length) text += static_cast<char>(random());
    EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(text)), " " + text);
  }
  EXPECT_EQ(decoded(*tokenizer, tokenizer->encode("")), "");
  const std::string many = "one two  three\n" + std::string(100'000, 'e') + std::string(1000, ' ');
  EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(many)), " " + many);
}

/// What newer files say in place of a normalizer.
TEST(CharactersWithBytes, GiveTheTokensOfTheLibraryWithAMetaspace) {
  const TemporaryDirectory folder;
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  for (const Json& each : read_json(reference("llama2", "metaspaces.json"))) {
    const std::string scheme = each["prepend_scheme"], name = scheme + each["split"].dump();
    if (!tokenizers.contains(name)) {
      Json file = read_json(reference("llama2", "tokenizer.json"));
      file["normalizer"] = nullptr;
      file["pre_tokenizer"] = {
          {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", each["split"]}};
      write_file(folder / "t.json", json_text(file));
      tokenizers[name] = make_tokenizer(folder / "t.json");
    }
    EXPECT_EQ(tokenizers[name]->encode_special(each["text"].get<std::string>()), each["special_ids"].get<Tokens>())
        << each;
  }
  EXPECT_EQ(tokenizers.size(), 6);
  const Tokens one = tokenizers["firstfalse"]->encode("one"),
               behind = tokenizers["firstfalse"]->encode_behind("one", false);
  EXPECT_NE(one, behind) << "a blank comes before the first text alone";
}

TEST(CharactersWithBytes, AreRefusedWhereTheFileAsksForMore) {
  const TemporaryDirectory folder;
  const auto error = [&](const Json::json_pointer& at, const Json& value) {
    Json file = read_json(reference("llama2", "tokenizer.json"));
    file[at] = value;
    write_file(folder / "t.json", json_text(file));
    return test::usage_error([&] { make_tokenizer(folder / "t.json"); });
  };
  EXPECT_THAT(error("/normalizer"_json_pointer, nullptr), HasSubstr("\"pre_tokenizer\" is missing"));
  EXPECT_THAT(error("/normalizer"_json_pointer, {{"type", "NFKC"}}), HasSubstr("NFKC"));
  EXPECT_THAT(error("/normalizer/normalizers/0/prepend"_json_pointer, "x"), HasSubstr("prepend"));
  EXPECT_THAT(error("/pre_tokenizer"_json_pointer, {{"type", "ByteLevel"}}), HasSubstr("Metaspace is"));
  EXPECT_THAT(error("/pre_tokenizer"_json_pointer, {{"type", "Metaspace"}, {"replacement", "\u2581"}}),
              HasSubstr("beside a normalizer"));
  EXPECT_THAT(error("/model/byte_fallback"_json_pointer, false), HasSubstr("normalizer"));
  EXPECT_THAT(error("/decoder/decoders/1/type"_json_pointer, "WordPiece"), HasSubstr("WordPiece"));
  Json lacks = read_json(reference("llama2", "tokenizer.json"))["model"]["vocab"];
  lacks["<0x0a>"] = lacks["<0x0A>"];
  lacks.erase("<0x0A>");
  EXPECT_THAT(error("/model/vocab"_json_pointer, lacks), HasSubstr("byte 10"));
}

TEST(JsonTokenizer, KnowsWhatBeginsAndEndsDocuments) {
  const auto llama3 = make_tokenizer(reference("llama3", "tokenizer.json"));
  EXPECT_EQ(llama3->begin_of_text(), 1501U);
  EXPECT_EQ(llama3->end_of_text(), 1502U);
  EXPECT_EQ(llama3->vocabulary(), 1505);
  EXPECT_EQ(decoded(*llama3, {1502}), "<|end_of_text|>");
  const auto qwen = make_tokenizer(reference("qwen", "tokenizer.json"));
  EXPECT_EQ(qwen->begin_of_text(), std::nullopt);
  EXPECT_EQ(decoded(*qwen, {*qwen->end_of_text()}), "<|endoftext|>");
  EXPECT_THAT(qwen->special_tokens(), ElementsAre("<|endoftext|>", "<|im_start|>", "<|im_end|>"));
  EXPECT_EQ(make_tokenizer(reference("gpt2", "tokenizer.json"))->end_of_text(), 0U);
}

/// A vocabulary of the bytes, and what a test adds to it.
class TokenizerJson : public testing::Test {
 protected:
  TokenizerJson() {
    const Json bytes = read_json(reference("gpt2", "tokenizer.json"))["model"]["vocab"];
    Json vocabulary = Json::object();
    for (const auto& [token, number] : bytes.items()) {
      const bool one =
          token.size() == 1 || (token.size() == 2 && (static_cast<unsigned char>(token[0]) & 0xe0) == 0xc0);
      if (one) vocabulary.emplace(token, vocabulary.size());
    }
    file_ = {{"version", "1.0"},
             {"added_tokens", Json::array()},
             {"normalizer", nullptr},
             {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
             {"post_processor", nullptr},
             {"decoder", {{"type", "ByteLevel"}}},
             {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
  }

  std::unique_ptr<Tokenizer> make() {
    write_file(folder_ / "tokenizer.json", file_.dump());
    return make_tokenizer(folder_ / "tokenizer.json");
  }
  std::string error() {
    return test::usage_error([&] { make(); });
  }
  std::string error_with(const char* place, const Json& value) {
    const Json before = file_;
    file_[Json::json_pointer(place)] = value;
    std::string message = error();
    file_ = before;
    return message;
  }
  void merge(const std::string& left, const std::string& right) {
    Json& vocabulary = file_["model"]["vocab"];
    vocabulary.emplace(left + right, vocabulary.size());
    file_["model"]["merges"].push_back({left, right});
  }
  std::vector<std::string> pieces(const std::string& text) {
    const auto tokenizer = make();
    std::vector<std::string> result;
    for (const std::uint32_t token : tokenizer->encode(text)) result.push_back(decoded(*tokenizer, {token}));
    return result;
  }
  /// Words as the pattern splits them: every word is merged into one token of its bytes only where all is.
  void split_by(const std::string& pattern) {
    file_["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
  }
  static Json added(std::uint64_t id, const std::string& content, bool special) {
    return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false}, {"special", special}};
  }
  std::uint64_t size() { return file_["model"]["vocab"].size(); }

  TemporaryDirectory folder_;
  Json file_;
};

// As the library does it; GPT-2's own program merges "a bc" twice first.
TEST_F(TokenizerJson, MergesAPairThatIsEarlierAsSoonAsThereIsOne) {
  merge("b", "c");
  merge("a", "bc");
  merge("abc", "a");
  std::swap(file_["model"]["merges"][1], file_["model"]["merges"][2]);
  EXPECT_THAT(pieces("abcabc"), ElementsAre("abca", "bc"));
}

TEST_F(TokenizerJson, TakesBothFormsOfMerges) {
  merge("a", "b");
  const std::string checksum = make()->record().checksum;
  file_["model"]["merges"][0] = "a b";
  EXPECT_THAT(pieces("abc"), ElementsAre("ab", "c"));
  EXPECT_EQ(make()->record().checksum, checksum);
  file_["model"]["merges"][0] = "a b c";
  EXPECT_THAT(error(), HasSubstr("\"model.merges[0]\": a merge is two tokens"));
  file_["model"]["merges"][0] = {"a", "c"};
  EXPECT_THAT(error(), HasSubstr("\"model.merges[0]\": 'ac' is no token"));
  file_["model"]["merges"][0] = {"a"};
  EXPECT_THAT(error(), HasSubstr("\"model.merges[0]\" must be two tokens"));
}

TEST_F(TokenizerJson, FindsTheLongestAddedTokenAndSpecialOnesOnlyIfAsked) {
  const auto number = static_cast<std::uint32_t>(size());
  file_["added_tokens"] = {added(number, "<a>", true), added(number + 1, "<a>b", false)};
  const auto tokenizer = make();
  EXPECT_THAT(tokenizer->encode_special("<a><a>b"), ElementsAre(number, number + 1));
  EXPECT_THAT(pieces("<a><a>b"), ElementsAre("<", "a", ">", "<a>b"));
  EXPECT_EQ(tokenizer->vocabulary(), number + 2);
}

TEST_F(TokenizerJson, AnAddedTokenMayBeOneOfTheVocabulary) {
  merge("a", "b");
  EXPECT_THAT(pieces("ab"), ElementsAre("ab"));
  file_["added_tokens"] = Json::array({added(file_["model"]["vocab"]["b"], "b", false)});
  EXPECT_THAT(pieces("ab"), ElementsAre("a", "b"));
  EXPECT_EQ(make()->vocabulary(), 257);
}

TEST_F(TokenizerJson, NamesItselfByWhatItMeans) {
  merge("a", "b");
  const auto checksum = [&] { return make()->record().checksum; };
  const std::string before = checksum();
  file_["model"]["unk_token"] = nullptr;
  EXPECT_EQ(checksum(), before);
  const auto differs_with = [&](const char* place, const Json& value) {
    const Json old = file_;
    file_[Json::json_pointer(place)] = value;
    EXPECT_NE(checksum(), before) << place;
    file_ = old;
  };
  differs_with("/normalizer", {{"type", "NFC"}});
  differs_with("/model/ignore_merges", true);
  differs_with("/pre_tokenizer/add_prefix_space", true);
  differs_with("/pre_tokenizer/use_regex", false);
  differs_with("/added_tokens", Json::array({added(size(), "<a>", true)}));
  EXPECT_EQ(make()->name(), "tokenizer.json");
  EXPECT_EQ(make()->record().tokenizer_json, read_file(folder_ / "tokenizer.json"));
}

TEST_F(TokenizerJson, RefusesWhatItCannotDoByItsKey) {
  EXPECT_THAT(error_with("/truncation", {{"max_length", 5}}),
              HasSubstr("tokenizer.json: \"truncation\" is not supported"));
  EXPECT_THAT(error_with("/padding", Json::object()), HasSubstr("\"padding\" is not supported"));
  EXPECT_THAT(error_with("/version", "2.0"), HasSubstr("\"version\""));
  EXPECT_THAT(error_with("/normalizer", {{"type", "Lowercase"}}),
              HasSubstr("\"normalizer\" is of type 'Lowercase', which is not supported; NFC is"));
  EXPECT_THAT(error_with("/pre_tokenizer", nullptr), HasSubstr("\"pre_tokenizer\""));
  EXPECT_THAT(error_with("/pre_tokenizer", {{"type", "Whitespace"}}), HasSubstr("\"pre_tokenizer\""));
  EXPECT_THAT(error_with("/decoder", {{"type", "WordPiece"}}), HasSubstr("\"decoder\" is of type 'WordPiece'"));
  EXPECT_THAT(error_with("/decoder", nullptr), HasSubstr("\"decoder\" is missing"));
  EXPECT_THAT(error_with("/post_processor", {{"type", "RobertaProcessing"}}), HasSubstr("\"post_processor\""));
  EXPECT_THAT(error_with("/model/type", "Unigram"), HasSubstr("\"model\" is of type 'Unigram'"));
  EXPECT_THAT(error_with("/model/dropout", 0.1), HasSubstr("\"model.dropout\""));
  EXPECT_THAT(error_with("/model/continuing_subword_prefix", "##"), HasSubstr("\"model.continuing_subword_prefix\""));
  EXPECT_THAT(error_with("/model/end_of_word_suffix", "</w>"), HasSubstr("\"model.end_of_word_suffix\""));
  EXPECT_THAT(error_with("/model/new", 1), HasSubstr("\"model.new\" is not supported"));
  EXPECT_THAT(error_with("/model/vocab/a", 1000), HasSubstr("\"model.vocab\": the number of token 'a' is 1000"));
  EXPECT_THAT(error_with("/model/vocab", 5), HasSubstr("\"model.vocab\": must be an object"));
  EXPECT_THAT(error_with("/model/merges", 5), HasSubstr("\"model.merges\" must be a list"));
  EXPECT_THAT(error_with("/model", nullptr), HasSubstr("\"model\" is missing"));
}

TEST_F(TokenizerJson, RefusesAddedTokensThatItCannotFindAsTheLibraryDoes) {
  for (const char* key : {"lstrip", "rstrip", "single_word"}) {
    Json token = added(size(), "<a>", true);
    token[key] = true;
    EXPECT_THAT(error_with("/added_tokens", Json::array({token})),
                HasSubstr("\"added_tokens[0]." + std::string(key) + "\" is not supported"));
  }
  EXPECT_THAT(error_with("/added_tokens", Json::array({added(size() + 1, "<a>", true)})),
              HasSubstr("\"added_tokens[0]\": the id of '<a>' is 257, but 256"));
  EXPECT_THAT(error_with("/added_tokens", Json::array({added(size(), "", true)})),
              HasSubstr("\"added_tokens[0].content\" is empty"));
  EXPECT_THAT(error_with("/added_tokens", {added(size(), "<a>", true), added(size(), "<a>", true)}),
              HasSubstr("\"added_tokens[1]\": '<a>' is there twice"));
}

TEST_F(TokenizerJson, TakesTheTokensAroundATextFromTheTemplate) {
  file_["added_tokens"] = {added(size(), "<s>", true), added(size() + 1, "<e>", true), added(size() + 2, "</s>", true)};
  const auto special = [](const char* name) { return Json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}}; };
  const Json text{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json known{{"<s>", {{"ids", {size()}}}}, {"<e>", {{"ids", {size() + 1}}}}};
  const auto frame = [&](const Json& single) {
    return Json{{"type", "TemplateProcessing"}, {"single", single}, {"pair", nullptr}, {"special_tokens", known}};
  };
  EXPECT_EQ(make()->end_of_text(), size() + 2);
  file_["post_processor"] = frame({special("<s>"), text, special("<e>")});
  EXPECT_EQ(make()->begin_of_text(), size());
  EXPECT_EQ(make()->end_of_text(), size() + 1);
  EXPECT_THAT(error_with("/post_processor", frame({special("<s>"), special("<s>"), text})),
              HasSubstr("\"post_processor.single[1]\" is one too many"));
  EXPECT_THAT(error_with("/post_processor", frame(Json::array({special("<s>")}))), HasSubstr("holds no text"));
  EXPECT_THAT(error_with("/post_processor", frame({special("<x>"), text})),
              HasSubstr("\"post_processor.special_tokens.<x>"));
  EXPECT_THAT(error_with("/added_tokens", Json::array()), HasSubstr("no special one of \"added_tokens\""));
}

TEST_F(TokenizerJson, RefusesSplitPatternsThatLibrariesReadDifferently) {
  for (const char* pattern : {R"(\d+)",     R"(\w+)",  ".+",     "^a",        "a$",    R"(\p{Lu}+)", R"([[:alpha:]]+)",
                              "[a&&b]+",    "(?<n>a)", R"(a\b)", R"((a)\1)",  "a{,2}", "a{1,2}+",    R"((?i:\p{L}))",
                              "(?i:first)", "(?i)a",   "[^\\S]", R"([\s-x])", "a}",    "[a",         "(a",
                              "a)",         "[]",      "+a",     "(?s:a)",    "a\\"}) {
    split_by(pattern);
    EXPECT_THAT(error(), HasSubstr("\"pre_tokenizer")) << pattern;
  }
  split_by("a*");
  EXPECT_THAT(error(), HasSubstr("matches where there is no text"));
  split_by("a");
  file_["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed";
  EXPECT_THAT(error(), HasSubstr("\"pre_tokenizer.pretokenizers[0].behavior\""));
  split_by("a");
  file_["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"String", "a"}};
  EXPECT_THAT(error(), HasSubstr("\"pre_tokenizer.pretokenizers[0].pattern.String\" is not supported"));
}

TEST_F(TokenizerJson, SplitsByItsPattern) {
  merge("a", "b");
  merge("1", "2");
  merge("'", "S");
  split_by(R"((?i:'[st])|[a-c_\-\n]++|\p{N}{1,1}|\S\s?)");
  EXPECT_THAT(pieces("ab12'S"), ElementsAre("ab", "1", "2", "'S"));
  split_by(R"(a|b(?!c)|\P{L}{2})");
  EXPECT_THAT(pieces("ab12"), ElementsAre("a", "b", "12"));
}

TEST(JsonTokenizer, RefusesFilesThatAreNone) {
  const TemporaryDirectory folder;
  const auto error = [&](const std::string& content) {
    write_file(folder / "t.json", content);
    return test::usage_error([&] { make_tokenizer(folder / "t.json"); });
  };
  EXPECT_THAT(error(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(error("[]"), HasSubstr("must be an object"));
  EXPECT_THAT(error("{}"), HasSubstr("\"model\" is missing"));
  EXPECT_THAT(error(read_file(reference("qwen", "tokenizer.json")).substr(0, 10000)), HasSubstr("not valid JSON"));
  EXPECT_THAT(test::usage_error([&] { make_tokenizer(folder / "absent.json"); }), HasSubstr("absent.json"));
}

}  // namespace
}  // namespace lshdp::data
