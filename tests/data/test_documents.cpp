// Texts as documents: the tokens around them, and records of JSON lines.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "lshdp/core/file.h"
#include "lshdp/data/converters.h"
#include "lshdp/data/dataset.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Documents = TextOptions::Documents;
using Numbers = std::vector<std::int64_t>;

std::unique_ptr<Tokenizer> tokenizer(const std::string& kind) {
  return make_tokenizer(std::filesystem::path(LSHDP_TEST_DATA) / "tokenizers" / kind / "tokenizer.json");
}

class DocumentsTest : public testing::Test {
 protected:
  std::filesystem::path file(const char* name, const std::string& content) {
    write_file(folder_ / name, content);
    return folder_ / name;
  }
  /// The tokens of the text in `out_`, as text again.
  std::string written(const Tokenizer& tokenizer) {
    const auto dataset = open_dataset(out_, 1);
    EXPECT_EQ(dataset->info().vocabulary, tokenizer.vocabulary());
    Numbers samples(static_cast<std::size_t>(dataset->size())), tokens;
    for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = static_cast<std::int64_t>(i);
    const Batch batch = dataset->read(samples);
    tokens.push_back(batch.input.const_data_ptr<std::int64_t>()[0]);
    tokens.insert(tokens.end(), batch.target.const_data_ptr<std::int64_t>(),
                  batch.target.const_data_ptr<std::int64_t>() + batch.target.numel());
    return tokenizer.decode(tokens);
  }
  std::string error(const Tokenizer& tokenizer, const TextOptions& options, const std::filesystem::path& path) {
    return test::usage_error([&] { convert_text({path}, tokenizer, options, {out_}); });
  }

  lshdp::test::TemporaryDirectory folder_;
  std::filesystem::path out_ = folder_ / "out.h5";
};

TEST_F(DocumentsTest, HaveTheTokensOfTheirModelAroundThem) {
  const auto llama3 = tokenizer("llama3"), qwen = tokenizer("qwen");
  const std::vector<std::filesystem::path> files{file("a", "one\n\ntwo"), file("b", "three")};
  convert_text(files, *llama3, {.documents = Documents::files}, {out_});
  EXPECT_EQ(written(*llama3), "<|begin_of_text|>one\n\ntwo<|end_of_text|><|begin_of_text|>three<|end_of_text|>");
  convert_text(files, *llama3, {}, {out_});
  EXPECT_EQ(written(*llama3), "one\n\ntwothree");
  convert_text(files, *qwen, {.documents = Documents::blank_lines}, {out_});
  EXPECT_EQ(written(*qwen), "one\n<|endoftext|>two<|endoftext|>three<|endoftext|>");
}

TEST_F(DocumentsTest, AreTheRecordsOfJsonLines) {
  const auto qwen = tokenizer("qwen");
  const std::string lines = R"({"text": "one\n", "n": 1})"
                            "\r\n\n"
                            R"({"text": "", "n": 2})"
                            "\n"
                            R"({"text":"tw\u00f6"})";
  const std::vector<std::filesystem::path> files{file("a.jsonl", lines), file("b.jsonl.gz", test::gzip(lines))};
  convert_text(files, *qwen, {.documents = Documents::records, .fields = {"text"}}, {out_});
  EXPECT_EQ(written(*qwen), "one\n<|endoftext|>tw\u00f6<|endoftext|>one\n<|endoftext|>tw\u00f6<|endoftext|>");
  convert_text({files[0]}, *make_byte_tokenizer(), {.fields = {"text"}}, {out_});
  EXPECT_EQ(written(*make_byte_tokenizer()), "one\ntw\u00f6");
}

/// Tokens of the samples of `context`, and which of their targets are trained.
struct Samples {
  std::vector<Numbers> inputs;
  std::vector<Numbers> targets;
};

Samples samples_of(const std::filesystem::path& path, std::int64_t context) {
  const auto dataset = open_dataset(path, context);
  Samples samples;
  for (std::int64_t sample = 0; sample < dataset->size(); ++sample) {
    const Batch batch = dataset->read(std::span(&sample, 1));
    const auto numbers = [](const at::Tensor& tensor) {
      return Numbers(tensor.const_data_ptr<std::int64_t>(), tensor.const_data_ptr<std::int64_t>() + tensor.numel());
    };
    samples.inputs.push_back(numbers(batch.input));
    samples.targets.push_back(numbers(batch.target));
    const std::int64_t untrained = std::ranges::count(samples.targets.back(), kUntrained);
    EXPECT_EQ(dataset->terms(std::span(&sample, 1)), context - untrained);
  }
  return samples;
}

TEST_F(DocumentsTest, TrainTheCompletionsOfPromptsAlone) {
  const auto llama3 = tokenizer("llama3");
  const auto token = [&](const char* text) { return static_cast<std::int64_t>(llama3->encode(text).at(0)); };
  const std::int64_t begin = *llama3->begin_of_text(), end = *llama3->end_of_text();
  convert_text({file("a", R"({"q": "a", "a": "bc"})"
                          "\n"
                          R"({"q": "d", "a": "e"})")},
               *llama3, {.documents = Documents::records, .fields = {"q", "a"}}, {out_});
  EXPECT_TRUE(read_dataset_info(out_).masked);
  const Numbers bc = [&] {
    const auto encoded = llama3->encode("bc");
    return Numbers(encoded.begin(), encoded.end());
  }();
  // begin a bc.. end begin d e end: what follows a prompt is trained, and the end of its completion.
  Numbers stream{begin, token("a")}, trained{kUntrained, kUntrained};
  stream.insert(stream.end(), bc.begin(), bc.end());
  trained.insert(trained.end(), bc.begin(), bc.end());
  for (const std::int64_t next : {end, begin, token("d"), token("e"), end}) stream.push_back(next);
  for (const std::int64_t next : {end, kUntrained, kUntrained, token("e"), end}) trained.push_back(next);
  const Samples all = samples_of(out_, std::ssize(stream) - 1);
  ASSERT_EQ(all.inputs.size(), 1);
  EXPECT_EQ(all.inputs[0], Numbers(stream.begin(), stream.end() - 1));
  EXPECT_EQ(all.targets[0], Numbers(trained.begin() + 1, trained.end()));
}

TEST_F(DocumentsTest, FillWholeSamplesWherePadded) {
  const auto qwen = tokenizer("qwen");
  const auto token = [&](const char* text) { return static_cast<std::int64_t>(qwen->encode(text).at(0)); };
  const std::int64_t end = *qwen->end_of_text();
  convert_text({file("a", "{\"text\": \"a\"}\n{\"text\": \"b\"}")}, *qwen,
               {.documents = Documents::records, .fields = {"text"}, .pad_to = 4}, {out_});
  const Samples all = samples_of(out_, 4);
  ASSERT_EQ(all.inputs.size(), 2);
  EXPECT_EQ(all.inputs[0], (Numbers{token("a"), end, end, end}));
  EXPECT_EQ(all.targets[0], (Numbers{end, kUntrained, kUntrained, kUntrained}));
  EXPECT_EQ(all.inputs[1], (Numbers{token("b"), end, end, end}));
  EXPECT_EQ(all.targets[1], (Numbers{end, kUntrained, kUntrained, kUntrained}));
}

/// Of the samples, positions of tokens in their documents.
std::vector<Numbers> positions_of(const std::filesystem::path& path, std::int64_t context, Windows windows) {
  const auto dataset = open_dataset(path, context, windows);
  std::vector<Numbers> all;
  for (std::int64_t sample = 0; sample < dataset->size(); ++sample) {
    const at::Tensor positions = dataset->read(std::span(&sample, 1)).positions;
    all.emplace_back(positions.const_data_ptr<std::int64_t>(),
                     positions.const_data_ptr<std::int64_t>() + positions.numel());
  }
  return all;
}

std::string records(const std::vector<std::string>& texts) {
  std::string lines;
  for (const std::string& text : texts) lines += "{\"text\": \"" + text + "\"}\n";
  return lines;
}

TEST_F(DocumentsTest, ThatArePackedFollowEachOtherAndBeginAtPosition0) {
  const auto qwen = tokenizer("qwen");
  const auto token = [&](const char* text) { return static_cast<std::int64_t>(qwen->encode(text).at(0)); };
  const std::int64_t end = *qwen->end_of_text();
  const auto file_of_three = file("a", records({"a", "b", "c"}));
  convert_text({file_of_three}, *qwen, {.documents = Documents::records, .fields = {"text"}, .packs_documents = true},
               {out_});
  EXPECT_TRUE(read_dataset_info(out_).documents);
  EXPECT_THAT(describe_dataset(out_), testing::ContainsRegex("documents, kept apart +3"));
  const Samples all = samples_of(out_, 5);
  ASSERT_EQ(all.inputs.size(), 1);
  EXPECT_EQ(all.inputs[0], (Numbers{token("a"), end, token("b"), end, token("c")}));
  EXPECT_EQ(all.targets[0], (Numbers{end, kUntrained, end, kUntrained, end}));
  EXPECT_EQ(positions_of(out_, 5, Windows::fixed), (std::vector<Numbers>{{0, 1, 0, 1, 0}}));
  // A window that begins within a document is all that is seen of it.
  EXPECT_EQ(positions_of(out_, 3, Windows::anywhere), (std::vector<Numbers>{{0, 1, 0}, {0, 0, 1}, {0, 1, 0}}));
  convert_text({file_of_three}, *qwen, {.documents = Documents::records, .fields = {"text"}}, {out_});
  const std::int64_t first = 0;
  EXPECT_FALSE(open_dataset(out_, 2)->read(std::span(&first, 1)).positions.defined());
}

TEST_F(DocumentsTest, ThatArePackedAndPaddedAreWholeWhereTheyFit) {
  const auto qwen = tokenizer("qwen");
  const std::int64_t end = *qwen->end_of_text();
  const std::string digits = "123456789";  // a token each
  ASSERT_EQ(qwen->encode(digits).size(), 9);
  // With their ends 2, 4, 3, 10 and 2 tokens. The long one leaves a room of 3, then there is one of 2.
  convert_text({file("a", records({"1", "123", "12", digits, "2"}))}, *qwen,
               {.documents = Documents::records, .fields = {"text"}, .pad_to = 6, .packs_documents = true}, {out_});
  const auto number = [&](char c) { return static_cast<std::int64_t>(qwen->encode(std::string(1, c)).at(0)); };
  const auto numbers = [&](const std::string& text) {
    Numbers list;
    for (const char c : text) list.push_back(c == '.' ? end : number(c));
    return list;
  };
  const Samples all = samples_of(out_, 6);
  EXPECT_THAT(all.inputs,
              testing::ElementsAre(numbers("123456"), numbers("789.1."), numbers("123.2."), numbers("12....")));
  const auto targets = [&](const std::string& text) {
    Numbers list;
    for (const char c : text) list.push_back(c == '-' ? kUntrained : c == '.' ? end : number(c));
    return list;
  };
  EXPECT_THAT(all.targets,
              testing::ElementsAre(targets("234567"), targets("89.-.-"), targets("23.-.-"), targets("2.----")));
  EXPECT_EQ(positions_of(out_, 6, Windows::fixed),
            (std::vector<Numbers>{{0, 1, 2, 3, 4, 5}, {0, 1, 2, 3, 0, 1}, {0, 1, 2, 3, 0, 1}, {0, 1, 2, 0, 1, 2}}));
  const auto dataset = open_dataset(out_, 6);
  const Numbers every{0, 1, 2, 3};
  EXPECT_EQ(dataset->terms(every), (10 - 1) + (4 - 1) + (3 - 1) + 2 * (2 - 1));
}

TEST_F(DocumentsTest, ArePackedOnlyWhereThereAreSome) {
  EXPECT_THAT(error(*tokenizer("qwen"), {.packs_documents = true}, file("t", "text")),
              AllOf(HasSubstr("packing"), HasSubstr("--separator")));
}

TEST_F(DocumentsTest, AreRefusedWhereARecordIsMalformed) {
  const auto bytes = make_byte_tokenizer();
  const TextOptions options{.fields = {"text"}};
  EXPECT_THAT(error(*bytes, options, file("t", "{\"text\": \"a\"}\n{\"text\": 5}\n")),
              AllOf(HasSubstr("record in line 2"), HasSubstr("\"text\" must be text")));
  EXPECT_THAT(error(*bytes, options, file("t", "{\"other\": \"a\"}")), HasSubstr("line 1: \"text\" is missing"));
  EXPECT_THAT(error(*bytes, options, file("t", "[1]\n")), HasSubstr("\"text\" is missing"));
  EXPECT_THAT(error(*bytes, options, file("t", "\n\n{\"text\": \"a\n")),
              AllOf(HasSubstr("record in line 3"), HasSubstr("not valid JSON")));
  EXPECT_THAT(error(*bytes, options, file("t", "\n")), HasSubstr("holds no text"));
  EXPECT_THAT(error(*bytes, {.documents = Documents::records, .fields = {"text"}}, file("t", "{\"text\": \"a\"}")),
              HasSubstr("or --separator none"));
}

TEST_F(DocumentsTest, KeepTheirTokenizer) {
  const auto qwen = tokenizer("qwen");
  convert_text({file("t", "some text to keep")}, *qwen, {}, {out_, folder_ / "v.h5", 0.4});
  for (const auto& path : {out_, folder_ / "v.h5"}) {
    const TokenizerRecord record = read_tokenizer(path);
    EXPECT_EQ(record.name, "tokenizer.json");
    EXPECT_EQ(record.checksum, qwen->record().checksum);
    EXPECT_EQ(record.tokenizer_json, qwen->record().tokenizer_json);
    EXPECT_EQ(record.vocabulary_json + record.merges_text, "");
  }
}

TEST_F(DocumentsTest, HaveSpecialTokensInThemOnlyIfAsked) {
  const auto qwen = tokenizer("qwen");
  const auto text = file("t", "<|im_start|>hi<|im_end|>");
  convert_text({text}, *qwen, {.special = true}, {out_});
  EXPECT_EQ(read_dataset_info(out_).count, static_cast<std::int64_t>(qwen->encode("hi").size()) + 2);
  convert_text({text}, *qwen, {}, {out_});
  EXPECT_GT(read_dataset_info(out_).count, 8);
  EXPECT_EQ(written(*qwen), "<|im_start|>hi<|im_end|>");
  EXPECT_THAT(error(*make_byte_tokenizer(), {.special = true}, text), HasSubstr("no special tokens"));
}

}  // namespace
}  // namespace lshdp::data
