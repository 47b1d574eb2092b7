// A model's tokenizer.json by the command line: data sets, runs, generation, and records of JSON lines.
#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/data/dataset.h"
#include "program.h"
#include "support/temporary_directory.h"
#include "weights.h"

namespace lshdp::test {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class TokenizerCommands : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  void file(const std::string& name, const std::string& content) { write_file(at(name), content); }

  CommandResult run(const std::string& arguments) {
    return run_command("cd " + folder_.path().string() + " && " + lshdp_binary() + " " + arguments);
  }
  std::string done(const std::string& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments << "\n" << result.output << result.errors;
    return result.output;
  }
  std::string refused(const std::string& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments << "\n" << result.output;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    return result.errors;
  }
  /// What it says while it succeeds.
  std::string warned(const std::string& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments << "\n" << result.output << result.errors;
    return result.output + result.errors;
  }
  static std::string option(const std::string& kind) {
    return " --tokenizer " LSHDP_TOKENIZERS "/" + kind + "/tokenizer.json ";
  }

  TemporaryDirectory folder_;
};

TEST_F(TokenizerCommands, ARunKeepsTheTokenizerOfItsDataAndGeneratesWithIt) {
  file("t", "the nodes train together, and the slowest one is not late; the nodes train together.\n");
  done("data text t t t --separator file --out llama.h5" + option("llama3"));
  done("data text t t t --out qwen.h5" + option("qwen"));
  EXPECT_THAT(done("data info llama.h5"), AllOf(ContainsRegex("tokenizer +tokenizer.json"), HasSubstr("1,505")));
  file("gpt.json", R"({"type":"gpt2","n_layer":1,"n_head":2,"n_embd":16,"n_positions":8,"vocab_size":1536})");
  done("train --model gpt.json --data llama.h5 --batches 1 --steps 2 --log warn --results run");
  EXPECT_EQ(read_file(at("run/tokenizer.json")), read_file(LSHDP_TOKENIZERS "/llama3/tokenizer.json"));
  EXPECT_FALSE(std::filesystem::exists(at("run/vocab.json")));
  const std::string generate = "generate --log warn --init run --prompt 'the nodes' --length 3 --temperature 0";
  const std::string text = done(generate);
  EXPECT_THAT(text, StartsWith("the nodes"));
  EXPECT_EQ(done(generate + option("llama3")), text);
  done("evaluate --log warn --init run --data llama.h5");
  EXPECT_THAT(refused("evaluate --log warn --init run --data qwen.h5"), HasSubstr("'tokenizer.json' with 1206 tokens"));
  EXPECT_THAT(refused(generate + option("qwen")), HasSubstr("was trained with another vocabulary or other merges"));
  EXPECT_THAT(refused(generate + " --tokenizer byte"), HasSubstr("'tokenizer.json', not 'byte'"));
}

/// A model that is taken further on tokens of another tokenizer would learn nonsense without a word.
TEST_F(TokenizerCommands, TrainingWarnsOfTokensThatTheWeightsDoNotKnow) {
  file("t", "the nodes train together, and the slowest one is not late; the nodes train together.\n");
  done("data text t t t --separator file --out llama.h5" + option("llama3"));
  done("data text t t t --separator file --out qwen.h5" + option("qwen"));
  file("gpt.json", R"({"type":"gpt2","n_layer":1,"n_head":2,"n_embd":16,"n_positions":8,"vocab_size":1536})");
  done("train --model gpt.json --data llama.h5 --batches 1 --steps 2 --log warn --results run");
  done("export run --out folder");
  for (const std::string weights : {"run", "folder"}) {
    const std::string train = "train --model gpt.json --batches 1 --steps 1 --log warn --init " + weights + " --data ";
    EXPECT_THAT(warned(train + "qwen.h5"), HasSubstr("was not trained on tokens as qwen.h5 has them"));
    EXPECT_THAT(warned(train + "llama.h5"), Not(HasSubstr("was not trained on")));
  }
}

TEST_F(TokenizerCommands, DataIsMadeOfRecords) {
  file("t.jsonl", "{\"text\": \"ab\", \"body\": \"c\"}\n{\"text\": \"de\", \"body\": \"f\"}\n");
  done("data text t.jsonl --jsonl text --separator none --out t.h5");
  EXPECT_THAT(done("data info t.h5"), ContainsRegex("tokens +4"));
  done("data text t.jsonl --jsonl body --out t.h5" + option("gpt2"));
  EXPECT_THAT(done("data info t.h5"), AllOf(ContainsRegex("tokenizer +tokenizer.json"), HasSubstr("900")));
  EXPECT_THAT(refused("data text t.jsonl --jsonl text --out t.h5"),
              AllOf(HasSubstr("take --tokenizer gpt2"), HasSubstr("or --separator none")));
  EXPECT_THAT(refused("data text t.jsonl --jsonl none --separator none --out t.h5"),
              HasSubstr("t.jsonl: record in line 1: \"none\" is missing"));
  EXPECT_THAT(refused("data text t.jsonl --separator record --out t.h5"),
              HasSubstr("--separator record needs --jsonl"));
  EXPECT_THAT(refused("data text t.jsonl --jsonl text --separator file --out t.h5"),
              HasSubstr("--separator file is for plain text"));
}

TEST_F(TokenizerCommands, RefuseATokenizerThatCannotBeUsed) {
  file("t", "text");
  EXPECT_THAT(refused("data text t --out t.h5 --tokenizer absent.json"), HasSubstr("cannot read absent.json"));
  file("other.json", R"({"version":"1.0","model":{"type":"Unigram"}})");
  EXPECT_THAT(refused("data text t --out t.h5 --tokenizer other.json"),
              HasSubstr("other.json: \"model\" is of type 'Unigram', which is not supported; BPE is"));
  EXPECT_THAT(refused("data text t --out other.json --tokenizer other.json"), HasSubstr("would overwrite an input"));
  EXPECT_THAT(refused("data text t --out t.h5 --encoder e.json" + option("qwen")), HasSubstr("for --tokenizer gpt2"));
  EXPECT_THAT(refused("data text t --out t.h5 --tokenizer word"), HasSubstr("choose from byte, gpt2, FILE.json"));
  EXPECT_THAT(refused("data text t --out t.h5 --tokenizer tokenizer.model"),
              AllOf(HasSubstr("SentencePiece"), HasSubstr("save_pretrained")));
}

/// In each step all of them: with documents alone in their samples, and with documents that share samples.
TEST_F(TokenizerCommands, DocumentsThatShareSamplesTrainAsEachInASampleOfItsOwn) {
  std::string lines;
  for (int i = 0; i < 20; ++i)
    lines +=
        "{\"text\": \"" + std::string(static_cast<std::size_t>(1 + i * i % 11), static_cast<char>('b' + i)) + "\"}\n";
  file("t.jsonl", lines);
  const std::string data = "data text t.jsonl --jsonl text --pad-to 16" + option("qwen");
  done(data + "--out alone.h5");
  done(data + "--packing documents --out packed.h5");
  EXPECT_THAT(done("data info packed.h5"),
              AllOf(ContainsRegex("documents, kept apart +20[^0-9]"), ContainsRegex("samples of +16")));
  const std::int64_t samples = (data::read_dataset_info(at("packed.h5")).count - 1) / 16;
  ASSERT_LT(samples, 12);
  ASSERT_GT(samples, 4);
  for (const std::string model :
       {R"({"type":"gpt2","n_layer":2,"n_head":2,"n_embd":16,"n_positions":16,"vocab_size":1210})",
        R"({"type":"llama","num_hidden_layers":2,"hidden_size":16,"intermediate_size":24,
                                      "num_attention_heads":2,"max_position_embeddings":16,"vocab_size":1210})"}) {
    file("model.json", model);
    const std::string train =
        "train --log warn --model " + at("model.json") + " --precision fp64 --steps 5 --clip 0.5 --lr 1e-2 ";
    done(train + "--data alone.h5 --batches 20 --save alone.safetensors");
    const CommandResult three =
        run_lshdp_on(3, train + "--data " + at("packed.h5") + " --eval-data " + at("packed.h5") + " --batches " +
                            std::to_string(samples - 3) + ",1,2 --recompute --save " + at("packed.safetensors"));
    EXPECT_EQ(three.exit_code, 0) << three.errors;
    EXPECT_LT(worst_difference(at("packed.safetensors"), at("alone.safetensors")), 1e-9);
    const std::string evaluate =
        "evaluate --precision fp64 --log warn --model model.json --init alone.safetensors --data ";
    const auto loss = [](const std::string& text) { return text.substr(0, text.find(" over")); };
    EXPECT_EQ(loss(done(evaluate + "packed.h5")), loss(done(evaluate + "alone.h5")));
  }
  file("mlp.json", R"({"type":"mlp","input_size":16,"hidden_sizes":[8],"output_size":4})");
  EXPECT_THAT(refused("max-batch --model mlp.json --packing documents"), HasSubstr("--packing documents"));
  EXPECT_THAT(
      refused("data text t.jsonl --jsonl text --separator none --packing documents --out u.h5" + option("qwen")),
      HasSubstr("--separator none"));
}

TEST_F(TokenizerCommands, MakeTokensOfChats) {
  file("t.jsonl", R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]})");
  done("data text t.jsonl --jsonl messages --chat-template chatml --out t.h5" + option("qwen"));
  EXPECT_THAT(done("data info t.h5"), ContainsRegex("trained +[1-9]"));
  EXPECT_THAT(refused("data text t.jsonl --jsonl messages --out t.h5" + option("qwen")),
              HasSubstr("give --chat-template"));
  EXPECT_THAT(refused("data text t.jsonl --jsonl messages --chat-template zephyr --out t.h5" + option("qwen")),
              HasSubstr("choose from chatml, qwen2.5, llama3, llama3.1"));
  EXPECT_THAT(refused("data text t.jsonl --chat-template chatml --out t.h5" + option("qwen")),
              HasSubstr("needs --jsonl KEY"));
}

/// The mean is over trained tokens: how many a rank has differs from its samples.
TEST_F(TokenizerCommands, CompletionsTrainTheSameOnAnySplit) {
  std::string lines;
  for (int i = 0; i < 30; ++i)
    lines += "{\"prompt\": \"" + std::string(static_cast<std::size_t>(1 + i % 5), 'a') + "\", \"completion\": \"" +
             std::string(static_cast<std::size_t>(1 + i * i % 11), static_cast<char>('b' + i % 20)) + "\"}\n";
  file("t.jsonl", lines);
  done("data text t.jsonl --jsonl prompt,completion --pad-to 8 --out t.h5" + option("llama3"));
  EXPECT_THAT(done("data info t.h5"), ContainsRegex("trained"));
  file("gpt.json", R"({"type":"gpt2","n_layer":1,"n_head":2,"n_embd":16,"n_positions":8,"vocab_size":1536})");
  const std::string train = "train --log warn --model " + at("gpt.json") + " --data " + at("t.h5") + " --eval-data " +
                            at("t.h5") + " --precision fp64 --steps 7 --clip 0.5 --save ";
  const CommandResult one = run_lshdp_on(1, train + at("one.safetensors") + " --batches 9 --results " + at("one"));
  const CommandResult three =
      run_lshdp_on(3, train + at("three.safetensors") + " --batches 1,6,2 --results " + at("three"));
  EXPECT_EQ(one.exit_code, 0) << one.errors;
  EXPECT_EQ(three.exit_code, 0) << three.errors;
  EXPECT_LT(worst_difference(at("one.safetensors"), at("three.safetensors")), 1e-9);
  const auto evaluation = [](const std::string& text) { return text.substr(text.find("evaluation loss")); };
  EXPECT_EQ(evaluation(one.output), evaluation(three.output));
  // Of single samples, most hold prompts alone.
  file("p.jsonl",
       "{\"prompt\": \"" + std::string("1 2 3 4 5 6 7 8 9 8 7 6 5 4 3 2 1 2 3") + "\", \"completion\": \"b\"}\n");
  done("data text p.jsonl --jsonl prompt,completion --pad-to 8 --out p.h5" + option("llama3"));
  const CommandResult prompts = run_lshdp("train --log warn --model " + at("gpt.json") + " --data " + at("p.h5") +
                                          " --batches 1 --epochs 1 --results " + at("prompts"));
  EXPECT_EQ(prompts.exit_code, 0) << prompts.errors;
  EXPECT_THAT(read_file(at("prompts/metrics.jsonl")), HasSubstr("\"loss\":0.0,"));
  EXPECT_THAT(refused("evaluate --log warn --context 4 --init one --data t.h5"), HasSubstr("give --context 8"));
  done("export one --out exported --log warn");
  EXPECT_EQ(read_file(at("exported/tokenizer.json")), read_file(at("one/tokenizer.json")));
  EXPECT_THAT(refused("data text t.jsonl --jsonl a,b,c --out u.h5" + option("llama3")), HasSubstr("3 keys"));
  EXPECT_THAT(refused("data text t.jsonl --jsonl prompt,completion --separator none --out u.h5" + option("llama3")),
              HasSubstr("are of documents"));
}

}  // namespace
}  // namespace lshdp::test
