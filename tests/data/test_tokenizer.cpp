// Tokenizers: bytes, and GPT-2's byte pairs with a vocabulary made by hand.
#include <numeric>
#include <random>

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

std::string decoded(const Tokenizer& tokenizer, const Tokens& tokens) {
  return tokenizer.decode(std::vector<std::int64_t>(tokens.begin(), tokens.end()));
}

std::string symbol(int code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

/// Token b is byte b, so that only what is merged has a number above 255. \u0120 is GPT-2's blank, \u010a its new line.
Json byte_encoder() {
  Json encoder = Json::object();
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    encoder[symbol(itself ? byte : next++)] = byte;
  }
  return encoder;
}

class Gpt2TokenizerTest : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> make() {
    write_file(folder_ / "encoder.json", encoder_.dump());
    write_file(folder_ / "vocab.bpe", merges_);
    return make_gpt2_tokenizer(folder_ / "encoder.json", folder_ / "vocab.bpe");
  }
  void add(const std::string& left, const std::string& right) {
    encoder_.emplace(left + right, encoder_.size());
    merges_ += left + " " + right + "\n";
  }
  std::string error() {
    return test::usage_error([&] { make(); });
  }

  TemporaryDirectory folder_;
  Json encoder_ = byte_encoder();
  std::string merges_ = "#version: 0.2\n";
};

std::string random_bytes(std::size_t length, std::mt19937& random) {
  std::string text;
  for (std::size_t i = 0; i < length; ++i) text += static_cast<char>(random());
  return text;
}

TEST(ByteTokenizer, TakesBytesForTokens) {
  const auto tokenizer = make_byte_tokenizer();
  EXPECT_EQ(tokenizer->vocabulary(), 256);
  EXPECT_EQ(tokenizer->name(), "byte");
  EXPECT_THAT(tokenizer->encode("a\xff"), ElementsAre(97, 255));
  EXPECT_EQ(tokenizer->decode(std::vector<std::int64_t>{97, 0, 255}), std::string("a\0\xff", 3));
  EXPECT_THAT(test::usage_error([&] { tokenizer->decode(std::vector<std::int64_t>{256}); }), HasSubstr("token 256"));
  EXPECT_THROW(tokenizer->decode(std::vector<std::int64_t>{-1}), UsageError);
}

/// Made by scripts/make_tokenizer_reference.py with the `tokenizers` library, as are the figures below.
std::filesystem::path reference(const char* name) { return std::filesystem::path(LSHDP_TEST_DATA) / "bpe" / name; }

std::unique_ptr<Tokenizer> reference_tokenizer() {
  return make_gpt2_tokenizer(reference("vocab.json"), reference("merges.txt"));
}

TEST(Gpt2Tokenizer, GivesTheTokensOfTheReferenceInEveryScript) {
  const auto tokenizer = reference_tokenizer();
  const Json cases = read_json(reference("cases.json"));
  EXPECT_GT(cases.size(), 400U);
  for (const Json& each : cases) {
    const std::string text = each["text"];
    EXPECT_EQ(tokenizer->encode(text), each["ids"].get<Tokens>()) << text;
    EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(text)), text);
  }
}

// Where the time for a word grew with the square of its length, this took minutes.
TEST(Gpt2Tokenizer, MergesAWordOfAMillionLettersAsTheReferenceDoes) {
  std::string word;
  for (std::uint32_t i = 0, state = 1; i < 1'000'000; ++i) {
    state = (state * 1103515245U + 12345U) % (1U << 31);
    word += static_cast<char>('a' + (state >> 16) % 26);
  }
  const Tokens tokens = reference_tokenizer()->encode(word);
  EXPECT_EQ(tokens.size(), 906062U);
  EXPECT_EQ(std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0}), 113462041);
  EXPECT_THAT(std::vector(tokens.end() - 3, tokens.end()), ElementsAre(75, 69, 89));
}

TEST(Gpt2Tokenizer, NamesItselfByWhatItsFilesMean) {
  const TemporaryDirectory folder;
  const std::string checksum = reference_tokenizer()->record().checksum, merges = read_file(reference("merges.txt"));
  // Indented, without a version line, with Windows' line ends: the same tokenizer.
  write_file(folder / "vocab.json", read_json(reference("vocab.json")).dump(2));
  std::string windows = merges.substr(merges.find('\n') + 1);
  for (std::size_t at = 0; (at = windows.find('\n', at)) != std::string::npos; at += 2) windows.insert(at, "\r");
  write_file(folder / "merges.txt", windows);
  EXPECT_EQ(make_gpt2_tokenizer(folder / "vocab.json", folder / "merges.txt")->record().checksum, checksum);
  // Without the last merge, or with two tokens exchanged: another.
  write_file(folder / "merges.txt", merges.substr(0, merges.rfind('\n', merges.size() - 2) + 1));
  EXPECT_NE(make_gpt2_tokenizer(folder / "vocab.json", folder / "merges.txt")->record().checksum, checksum);
  Json vocabulary = read_json(reference("vocab.json"));
  std::swap(vocabulary["the"], vocabulary["or"]);
  write_file(folder / "vocab.json", vocabulary.dump());
  EXPECT_NE(make_gpt2_tokenizer(folder / "vocab.json", reference("merges.txt"))->record().checksum, checksum);
}

TEST(Gpt2Tokenizer, KnowsItsEndOfTextToken) {
  EXPECT_EQ(reference_tokenizer()->end_of_text(), 0U);
  EXPECT_EQ(make_byte_tokenizer()->end_of_text(), std::nullopt);
}

TEST_F(Gpt2TokenizerTest, MergesEarlierPairsFirst) {
  add("l", "o");         // 256
  add("lo", "w");        // 257
  add("e", "r");         // 258
  add("w", "er");        // 259: never used in "lower", because "lo w" comes first
  add("\u0120", "low");  // 260
  const auto tokenizer = make();
  EXPECT_EQ(tokenizer->vocabulary(), 261);
  EXPECT_THAT(tokenizer->encode("lower"), ElementsAre(257, 258));
  EXPECT_THAT(tokenizer->encode("wer lower"), ElementsAre(259, 260, 258));
  EXPECT_THAT(tokenizer->encode("lolol"), ElementsAre(256, 256, 'l'));
  EXPECT_THAT(tokenizer->encode(""), ElementsAre());
}

TEST_F(Gpt2TokenizerTest, MergesNeverCrossWords) {
  add("b", "c");
  add("1", "a");
  add("a", "1");
  add("!", "a");
  add("\u0120", "\u0120");  // 260
  const auto tokenizer = make();
  EXPECT_THAT(tokenizer->encode("ab c"), ElementsAre('a', 'b', ' ', 'c'));
  EXPECT_THAT(tokenizer->encode("a1a!a"), ElementsAre('a', '1', 'a', '!', 'a'));
  // The last blank before a word belongs to it.
  EXPECT_THAT(tokenizer->encode("a   b"), ElementsAre('a', 260, ' ', 'b'));
  EXPECT_THAT(tokenizer->encode("a   "), ElementsAre('a', 260, ' '));
}

TEST_F(Gpt2TokenizerTest, CutsContractionsAndUnicodeWords) {
  add("'", "s");                                      // 256
  add("s", "o");                                      // 257
  encoder_.emplace("\u00c3\u00a9", encoder_.size());  // the two bytes of e acute
  merges_ += "\u00c3 \u00a9\n";                       // 258
  encoder_.emplace("\u00c3\u00a9s", encoder_.size());
  merges_ += "\u00c3\u00a9 s\n";  // 259: a letter, so that it joins with the s
  const auto tokenizer = make();
  EXPECT_THAT(tokenizer->encode("a'so"), ElementsAre('a', 256, 'o'));
  EXPECT_THAT(tokenizer->encode("\u00e9s"), ElementsAre(259));
  EXPECT_THAT(tokenizer->encode("\u00e9's"), ElementsAre(258, 256));
}

TEST_F(Gpt2TokenizerTest, GivesBackEveryText) {
  add("a", "b");
  add("\u00c3", "\u00a9");
  const auto tokenizer = make();
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_bytes(random() % 60, random);
    EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(text)), text);
  }
  for (const std::string text :
       {"ab\u00e9 \u4f60\u597d \U0001f600\n\n  x", "\xff\xfe", "ab\xc3", "\xe4\xbd", "tab\there\r\n"}) {
    EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(text)), text);
  }
}

TEST_F(Gpt2TokenizerTest, TakesLongTextsAndLongWords) {
  add("a", "a");
  add("aa", "aa");
  const auto tokenizer = make();
  EXPECT_EQ(tokenizer->encode(std::string(100000, 'a')).size(), 25000U);
  EXPECT_EQ(tokenizer->encode(std::string(1000000, ' ')).size(), 1000000U);
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "aa \u00e9 ";
  EXPECT_EQ(decoded(*tokenizer, tokenizer->encode(text)), text);
}

TEST_F(Gpt2TokenizerTest, AcceptsWindowsLineEnds) {
  encoder_.emplace("ab", encoder_.size());
  merges_ = "#version: 0.2\r\na b\r\n";
  EXPECT_THAT(make()->encode("ab"), ElementsAre(256));
}

TEST_F(Gpt2TokenizerTest, RefusesFilesThatDoNotFit) {
  encoder_.erase("a");
  encoder_["new"] = 97;
  EXPECT_THAT(error(), HasSubstr("byte 97: 'a' is no token"));
  encoder_ = byte_encoder();
  encoder_["new"] = 300;
  EXPECT_THAT(error(), HasSubstr("number of token 'new' is 300; numbers must be 0 to 256"));
  encoder_["new"] = 97;
  EXPECT_THAT(error(), HasSubstr("each once"));
  encoder_["new"] = "x";
  EXPECT_THAT(error(), HasSubstr("number of token 'new'"));
  encoder_ = Json::array({1});
  EXPECT_THAT(error(), HasSubstr("must be an object"));
}

TEST_F(Gpt2TokenizerTest, RefusesMergesOfWhatIsNoToken) {
  merges_ = "#version: 0.2\na b\n";
  EXPECT_THAT(error(), HasSubstr("vocab.bpe line 2: 'ab' is no token"));
  merges_ = "ab\n";
  EXPECT_THAT(error(), HasSubstr("line 1: a merge is two tokens"));
  merges_ = "a b c\n";
  EXPECT_THAT(error(), HasSubstr("a merge is two tokens"));
}

TEST_F(Gpt2TokenizerTest, RefusesMissingAndTruncatedFiles) {
  EXPECT_THAT(test::usage_error([&] { make_gpt2_tokenizer(folder_ / "no.json", folder_ / "no.bpe"); }),
              HasSubstr("no.json"));
  write_file(folder_ / "half.json", "{\"a\": 0, ");
  write_file(folder_ / "vocab.bpe", "");
  EXPECT_THAT(test::usage_error([&] { make_gpt2_tokenizer(folder_ / "half.json", folder_ / "vocab.bpe"); }),
              HasSubstr("not valid JSON"));
}

TEST_F(Gpt2TokenizerTest, RefusesToDecodeWhatIsNoToken) {
  EXPECT_THROW(make()->decode(std::vector<std::int64_t>{256}), UsageError);
}

}  // namespace
}  // namespace lshdp::data
