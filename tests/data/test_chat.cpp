// Chats: the tokens of transformers' apply_chat_template, of which those of the assistant are trained.
#include <algorithm>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/data/converters.h"
#include "lshdp/data/dataset.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Numbers = std::vector<std::int64_t>;

const std::filesystem::path kTokenizers = std::filesystem::path(LSHDP_TEST_DATA) / "tokenizers";

class Chats : public testing::Test {
 protected:
  Chats() {
    // The small tokenizer of Llama 3's kind lacks the tokens of headers.
    Json llama = read_json(kTokenizers / "llama3" / "tokenizer.json");
    for (const char* name : {"<|start_header_id|>", "<|end_header_id|>"}) {
      Json token = llama["added_tokens"].back();
      token["id"] = token["id"].get<int>() + 1;
      token["content"] = name;
      llama["added_tokens"].push_back(std::move(token));
    }
    write_file(folder_ / "llama3.json", json_text(llama));
    llama_ = make_tokenizer(folder_ / "llama3.json");
  }

  std::filesystem::path lines(const std::string& content) {
    write_file(folder_ / "chats.jsonl", content);
    return folder_ / "chats.jsonl";
  }
  TextOptions options(const std::string& name) const {
    static const std::map<std::string, ChatTemplate> templates{{"chatml", ChatTemplate::chatml},
                                                               {"qwen2.5", ChatTemplate::qwen},
                                                               {"llama3", ChatTemplate::llama3},
                                                               {"llama3.1", ChatTemplate::llama3_1}};
    return {.documents = TextOptions::Documents::records, .fields = {"messages"}, .chat_template = templates.at(name)};
  }
  std::string error(const std::string& name, const std::string& content, const Tokenizer& tokenizer) {
    return test::usage_error([&] { convert_text({lines(content)}, tokenizer, options(name), {out_}); });
  }

  lshdp::test::TemporaryDirectory folder_;
  std::filesystem::path out_ = folder_ / "out.h5";
  std::unique_ptr<Tokenizer> qwen_ = make_tokenizer(kTokenizers / "qwen" / "tokenizer.json"), llama_;
};

TEST_F(Chats, HaveTheTokensThatTheirTemplateGivesAndTrainTheAssistantsAlone) {
  const Json references = read_json(kTokenizers / "chats.json");
  ASSERT_GE(references.size(), 24);
  for (const Json& reference : references) {
    const std::string name = reference["template"];
    convert_text({lines(json_text({{"messages", reference["messages"]}}))},
                 name.starts_with("llama") ? *llama_ : *qwen_, options(name), {out_});
    const Numbers ids = reference["ids"], trained = reference["trained"];
    const std::int64_t first = 0, count = std::ssize(ids) - 1;
    ASSERT_EQ(read_dataset_info(out_).count, count + 1) << reference;
    const Batch batch = open_dataset(out_, count)->read(std::span(&first, 1));
    Numbers targets(ids.begin() + 1, ids.end());
    EXPECT_TRUE(batch.input.equal(at::tensor(Numbers(ids.begin(), ids.end() - 1)).view({1, count}))) << reference;
    for (std::size_t i = 0; i < targets.size(); ++i)
      if (trained[i + 1] == 0) targets[i] = kUntrained;
    EXPECT_TRUE(batch.target.equal(at::tensor(targets).view({1, count}))) << reference;
  }
}

TEST_F(Chats, AreDocumentsThatCanShareSamples) {
  const std::string chat = R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  TextOptions packing = options("chatml");
  packing.pad_to = 64;
  packing.packs_documents = true;
  convert_text({lines(chat + "\n" + chat)}, *qwen_, packing, {out_});
  const std::int64_t first = 0;
  const auto dataset = open_dataset(out_, 64);
  ASSERT_EQ(dataset->size(), 1);
  const at::Tensor positions = dataset->read(std::span(&first, 1)).positions;
  EXPECT_EQ(positions.eq(0).sum().item<std::int64_t>(), 3) << "two chats and what is left of the sample";
  EXPECT_EQ(dataset->terms(std::span(&first, 1)), 4) << "b and the end of the message, twice";
}

TEST_F(Chats, AreRefusedWhereTheTemplateDoesNotSayIt) {
  EXPECT_THAT(error("chatml", R"({"messages": [{"role": "tool", "content": "x"}]})", *qwen_),
              AllOf(HasSubstr("line 1: \"messages[0]\": role 'tool'"), HasSubstr("apply_chat_template")));
  EXPECT_THAT(error("chatml", R"({"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]})", *qwen_),
              HasSubstr("\"tool_calls\" is not supported"));
  EXPECT_THAT(error("chatml", R"({"messages": [{"role": "user", "content": [1]}]})", *qwen_),
              HasSubstr("\"content\" must be text"));
  EXPECT_THAT(error("chatml", R"({"messages": []})", *qwen_), HasSubstr("must be a list of messages"));
  EXPECT_THAT(error("chatml", R"({"text": "x"})", *qwen_), HasSubstr("\"messages\" is missing"));
  EXPECT_THAT(error("llama3", R"({"messages": [{"role": "user", "content": "x"}]})", *qwen_),
              HasSubstr("no special token <|begin_of_text|>"));
  TextOptions none{.documents = TextOptions::Documents::records, .fields = {"messages"}};
  EXPECT_THAT(test::usage_error([&] {
                convert_text({lines(R"({"messages": [{"role": "user", "content": "x"}]})")}, *qwen_, none, {out_});
              }),
              HasSubstr("give --chat-template"));
}

TEST_F(Chats, HoldSpecialTextAsTextUnlessAsked) {
  const std::string chat = R"({"messages": [{"role": "user", "content": "<|im_end|>"}]})";
  TextOptions special = options("chatml");
  convert_text({lines(chat)}, *qwen_, special, {out_});
  const std::int64_t as_text = read_dataset_info(out_).count;
  special.special = true;
  convert_text({lines(chat)}, *qwen_, special, {out_});
  EXPECT_LT(read_dataset_info(out_).count, as_text);
}

}  // namespace
}  // namespace lshdp::data
