// Text and tokens by the command line: what is said of odd files, tokenizers that differ, windows, generation.
#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/model/safetensors.h"
#include "program.h"
#include "support/temporary_directory.h"
#include "weights.h"

namespace lshdp::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class TextCommands : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  void file(const std::string& name, const std::string& content) { write_file(at(name), content); }

  CommandResult run(const std::string& arguments) {
    return run_command("cd " + folder_.path().string() + " && " + lshdp_binary() + " " + arguments);
  }
  /// Succeeds, and returns what it says on standard error.
  std::string said(const std::string& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.errors;
  }
  /// One line on standard error, and the exit code.
  std::string refused(const std::string& arguments, int exit_code = 2) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    return result.errors;
  }
  /// A GPT of one layer in NAME.json, and its fresh weights in NAME.safetensors.
  void model(const std::string& name, int vocabulary) {
    file(name + ".json", R"({"type":"gpt2","n_layer":1,"n_head":2,"n_embd":16,"n_positions":8,"vocab_size":)" +
                             std::to_string(vocabulary) + "}");
    said("init --model " + name + ".json --seed 1 --save " + name + ".safetensors");
  }
  static std::string weights(const std::string& name) {
    return " --model " + name + ".json --init " + name + ".safetensors ";
  }
  /// Tokens of `width` bytes, little-endian: 0, 1, 2, ..
  static std::string counting(int width, int count) {
    std::string bytes;
    for (int i = 0; i < count; ++i) {
      for (int byte = 0; byte < width; ++byte) bytes += static_cast<char>(byte < 4 ? i >> 8 * byte : 0);
    }
    return bytes;
  }

  const std::string bpe_ =
      " --tokenizer gpt2 --encoder " LSHDP_BPE_DATA "/vocab.json --vocab-bpe " LSHDP_BPE_DATA "/merges.txt ";
  TemporaryDirectory folder_;
};

TEST_F(TextCommands, WarnOnceOfWhatLooksLikeAnotherEncoding) {
  const std::string text = "some text of letters\n", mark = "\xef\xbb\xbf";
  std::string wide;
  for (const char c : text) wide += {c, '\0'};
  file("plain", text);
  file("marked", mark + text);
  file("again", mark + text);
  file("utf16", "\xff\xfe" + wide);
  file("unmarked", wide);
  file("zeros", std::string("a\0b a\0b ", 8));
  file("latin", "caf\xe9");
  const auto warnings = [&](const std::string& files) { return said("data text " + files + " --out out.h5"); };
  EXPECT_EQ(warnings("plain"), "");
  const std::string marked = warnings("plain marked again");
  EXPECT_THAT(marked, AllOf(HasSubstr("marked: begins with UTF-8's byte order mark"), HasSubstr("1 more"),
                            HasSubstr("--encoding UTF-8")));
  EXPECT_EQ(std::count(marked.begin(), marked.end(), '\n'), 1);
  EXPECT_THAT(warnings("utf16"), AllOf(HasSubstr("utf16: is UTF-16 text"), HasSubstr("--encoding UTF-16")));
  EXPECT_THAT(warnings("unmarked"), AllOf(HasSubstr("looks like UTF-16LE"), HasSubstr("--encoding UTF-16LE")));
  EXPECT_THAT(warnings("zeros"), HasSubstr("holds zero bytes"));
  EXPECT_THAT(warnings("latin"), HasSubstr("not UTF-8"));
  EXPECT_EQ(warnings("utf16 --encoding UTF-16"), "");
  EXPECT_THAT(run("data info out.h5").output, HasSubstr(std::to_string(text.size())));
}

TEST_F(TextCommands, SaysThatASpecialTokenIsTakenAsText) {
  file("t", "one<|endoftext|>two");
  EXPECT_THAT(said("data text t --out out.h5" + bpe_),
              AllOf(HasSubstr("t: holds <|endoftext|>"), HasSubstr("--special")));
  EXPECT_EQ(said("data text t --special --out out.h5" + bpe_), "");
  EXPECT_EQ(said("data text t --out out.h5"), "");  // bytes have no such token
  EXPECT_THAT(refused("data text t --separator file --out out.h5"), HasSubstr("take --tokenizer gpt2"));
  EXPECT_EQ(said("data text t --separator blank-line --out out.h5" + bpe_ + "--log off"), "");
}

TEST_F(TextCommands, WarnWhereRawTokensLookLikeAnotherType) {
  file("u16", counting(2, 400));
  file("i64", counting(8, 400));
  file("i32", counting(4, 400));
  std::string big = counting(2, 200);
  for (std::size_t i = 0; i < big.size(); i += 2) std::swap(big[i], big[i + 1]);
  file("big", big);
  std::string big_i64 = counting(8, 200);
  for (std::size_t i = 0; i < big_i64.size(); i += 8) std::reverse(big_i64.begin() + i, big_i64.begin() + i + 8);
  file("big64", big_i64);
  file("letters", std::string(400, 'x'));
  const auto warnings = [&](const std::string& arguments) {
    return said("data tokens " + arguments + " --out out.h5");
  };
  EXPECT_EQ(warnings("u16 --dtype u16"), "");
  EXPECT_EQ(warnings("i64 --dtype i64"), "");
  EXPECT_EQ(warnings("big --dtype u16 --byte-order big"), "");
  EXPECT_THAT(warnings("i64 --dtype u16"), AllOf(HasSubstr("75 % of the tokens are 0"), HasSubstr("--dtype u64")));
  EXPECT_THAT(warnings("i64 --dtype u32"), HasSubstr("--dtype u64"));
  EXPECT_THAT(warnings("i32 --dtype u16"), HasSubstr("--dtype u32"));
  EXPECT_THAT(warnings("big --dtype u16"), AllOf(HasSubstr("multiples of 256"), HasSubstr("--byte-order big")));
  EXPECT_THAT(warnings("u16 --dtype u16 --byte-order big --log off"), "");
  EXPECT_THAT(warnings("big64 --dtype u16"), HasSubstr("--dtype u64 --byte-order big"));
  EXPECT_THAT(warnings("letters --dtype u16"), HasSubstr("lshdp data text"));
  EXPECT_THAT(refused("data tokens u16 --byte-order big --out x.h5"), HasSubstr("--byte-order needs --dtype"));
}

TEST_F(TextCommands, NeverReplaceTheirInput) {
  file("x.txt", "text of ten");
  EXPECT_THAT(refused("data text x.txt --out ./x.txt"), HasSubstr("--out ./x.txt would overwrite an input"));
  EXPECT_THAT(refused("data text x.txt --out y.h5 --validation-fraction 0.5 --validation-out x.txt"),
              HasSubstr("--validation-out x.txt would overwrite"));
  EXPECT_THAT(refused("data tokens x.txt --dtype u8 --out x.txt"), HasSubstr("would overwrite"));
  EXPECT_EQ(read_file(at("x.txt")), "text of ten");
  EXPECT_THAT(refused("data text x.txt --out y.h5 --validation-fraction 0.5 --validation-out ./y.h5"),
              HasSubstr("training and validation need two files"));
  EXPECT_FALSE(std::filesystem::exists(at("y.h5")));
}

TEST_F(TextCommands, NeverReplaceWhatIsNoFile) {
  file("x.txt", "text of ten");
  ASSERT_EQ(run_command("mkfifo " + at("pipe")).exit_code, 0);
  EXPECT_THAT(refused("data text x.txt --out pipe"), HasSubstr("cannot write pipe: it is no regular file"));
  EXPECT_TRUE(std::filesystem::is_fifo(at("pipe")));
  EXPECT_FALSE(std::filesystem::exists(at("pipe.tmp")));
}

TEST_F(TextCommands, RefuseTokensOfAnotherTokenizer) {
  file("t", "the nodes train together, and the slowest one is not late; the nodes train together.");
  said("data text t --out bytes.h5");
  said("data text t --out pairs.h5" + bpe_);
  const std::string folder = LSHDP_BPE_DATA "/";
  const std::string merges = read_file(folder + "merges.txt");
  file("fewer.txt", merges.substr(0, merges.rfind('\n', merges.size() - 2) + 1));
  said("data text t --out fewer.h5 --tokenizer gpt2 --vocab-bpe fewer.txt --encoder " + folder + "vocab.json");
  file("t.bin", counting(2, 100));
  said("data tokens t.bin --dtype u16 --out raw.h5");
  model("gpt", 960);
  model("small", 256);
  const auto train = [&](const std::string& data, const std::string& evaluation) {
    return "train --model gpt.json --batches 1 --steps 1 --log warn --data " + data + " --eval-data " + evaluation;
  };
  said(train("pairs.h5", "pairs.h5"));
  said(train("pairs.h5", "raw.h5"));
  EXPECT_THAT(refused(train("pairs.h5", "fewer.h5")),
              HasSubstr("other vocabularies or merges of the tokenizer 'gpt2'"));
  EXPECT_THAT(refused(train("pairs.h5", "bytes.h5")), AllOf(HasSubstr("bytes.h5"), HasSubstr("another tokenizer")));
  EXPECT_THAT(refused("evaluate --log warn" + weights("gpt") + "--data bytes.h5"),
              HasSubstr("the tokenizer 'byte' has 256 tokens, but the model's vocab_size is 960"));
  EXPECT_THAT(refused("evaluate --log warn" + weights("small") + "--data pairs.h5"),
              HasSubstr("the model's vocab_size is 256"));
  EXPECT_EQ(run("evaluate" + weights("small") + "--data bytes.h5").exit_code, 0);
}

TEST_F(TextCommands, RefuseImageAugmentationOfTokens) {
  file("t", std::string(200, 'x'));
  said("data text t --out t.h5");
  model("gpt", 256);
  const std::string train = "train --model gpt.json --data t.h5 --batches 1 --steps 1 --log warn ";
  EXPECT_THAT(refused(train + "--flip"), HasSubstr("--flip is for images, but t.h5 holds tokens"));
  EXPECT_THAT(refused(train + "--crop-padding 2"), HasSubstr("--crop-padding is for images"));
  said("data synthetic-images --count 20 --channels 1 --size 8 --classes 2 --out i.h5");
  file("mlp.json", R"({"type":"mlp","input_size":64,"hidden_sizes":[8],"output_size":2})");
  const std::string images = "train --model mlp.json --data i.h5 --batches 1 --steps 1 --log warn ";
  EXPECT_THAT(refused(images + "--crop-padding 8"), AllOf(HasSubstr("images are 8 x 8"), HasSubstr("less than 8")));
  EXPECT_THAT(refused(images + "--windows random"), HasSubstr("--windows random is for tokens"));
  said(images + "--crop-padding 7");
  EXPECT_THAT(refused("train --model mlp.json --data i.h5 --eval-data t.h5 --batches 1 --steps 1 --log warn"),
              HasSubstr("t.h5 holds tokens, but the model reads images"));
}

TEST_F(TextCommands, GenerateTakesEveryPrompt) {
  model("gpt", 256);
  const std::string command = "generate --log warn" + weights("gpt") + "--length 3 ";
  EXPECT_THAT(run(command + "--prompt '--one two'").output, StartsWith("--one two"));
  EXPECT_THAT(run(command + "--prompt='two\nlines'").output, StartsWith("two\nlines"));
  EXPECT_THAT(run(command + "--prompt '-x\n'").output, StartsWith("-x\n"));
  file("prompt", "--from a\nfile\n");
  const CommandResult from_file = run(command + "--prompt-file prompt");
  EXPECT_THAT(from_file.output, StartsWith("--from a\nfile\n"));
  EXPECT_EQ(from_file.output.size(), 14U + 3U + 1U);
  EXPECT_THAT(refused(command), HasSubstr("give either --prompt or --prompt-file"));
  EXPECT_THAT(refused(command + "--prompt a --prompt-file prompt"), HasSubstr("give either"));
  EXPECT_THAT(refused(command + "--prompt-file absent"), HasSubstr("cannot read absent"));
}

TEST_F(TextCommands, GenerateTakesTheLikeliestAtTheSmallestTemperature) {
  model("gpt", 256);
  const std::string command = "generate --log warn" + weights("gpt") + "--prompt abc --length 12 --temperature ";
  const CommandResult coldest = run(command + "1e-320");
  EXPECT_EQ(coldest.exit_code, 0) << coldest.output;
  EXPECT_EQ(coldest.output, run(command + "0").output);
  EXPECT_EQ(run(command + "0 --threads 1").output, coldest.output);
  EXPECT_THAT(refused(command + "0 --threads 0"), HasSubstr("--threads"));
}

TEST_F(TextCommands, GenerateNeverDrawsTokensThatTheTokenizerHasNot) {
  model("padded", 320);
  // The embedding is tied to the head: rows of the padding ten times as long would win most draws.
  auto tensors = model::read_safetensors(at("padded.safetensors"));
  tensors.at("transformer.wte.weight").slice(0, 256).mul_(100);
  model::write_safetensors(at("padded.safetensors"), {tensors.begin(), tensors.end()});
  const CommandResult result =
      run("generate --log warn" + weights("padded") + "--prompt a --length 50 --temperature 1");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(result.output.size(), 1U + 50U + 1U);
}

TEST_F(TextCommands, GenerateRefusesATokenizerThatIsNotTheModels) {
  model("gpt", 960);
  const std::string command = "generate" + weights("gpt") + "--prompt 'the nodes' --length 3 ";
  EXPECT_THAT(refused(command),
              AllOf(HasSubstr("vocabulary of 960 is not that of bytes"), HasSubstr("--tokenizer gpt2")));
  EXPECT_THAT(refused(command + "--tokenizer byte"), HasSubstr("made for another tokenizer"));
  EXPECT_EQ(run(command + bpe_).exit_code, 0);
  model("small", 300);
  EXPECT_THAT(refused("generate" + weights("small") + "--prompt a" + bpe_), HasSubstr("vocab_size is 300"));
}

TEST_F(TextCommands, ARunKeepsTheTokenizerOfItsData) {
  file("t", "the nodes train together, and the slowest one is not late; the nodes train together.");
  said("data text t --out pairs.h5" + bpe_);
  model("gpt", 960);
  const std::string train = "train --model gpt.json --data pairs.h5 --batches 1 --log warn --checkpoint-every 1 ";
  said(train + "--results run --steps 2");
  said(train + "--resume run/checkpoints/step-1 --steps 2");  // puts step 2 aside
  const std::string folder = LSHDP_BPE_DATA "/";
  EXPECT_EQ(read_file(at("run/vocab.json")), read_file(folder + "vocab.json"));
  const std::string merges = read_file(folder + "merges.txt");
  EXPECT_EQ(read_file(at("run/merges.txt")), merges);
  file("few.txt", merges.substr(0, merges.rfind('\n', merges.size() - 2) + 1));
  for (const char* weights :
       {"run", "run/model.safetensors", "run/checkpoints/step-2", "run/checkpoints/abandoned-1/step-2"}) {
    const CommandResult result =
        run(std::string("generate --init ") + weights + " --prompt 'the nodes train' --length 3");
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, StartsWith("the nodes train"));
  }
  said("data text t --out few.h5 --tokenizer gpt2 --vocab-bpe few.txt --encoder " + folder + "vocab.json");
  EXPECT_THAT(refused("evaluate --log warn --init run --data few.h5"),
              HasSubstr("other vocabularies or merges of the tokenizer 'gpt2'"));
  EXPECT_THAT(
      refused("generate --init run --prompt a --tokenizer gpt2 --vocab-bpe few.txt --encoder " + folder + "vocab.json"),
      HasSubstr("run was trained with another vocabulary or other merges"));
  EXPECT_THAT(refused("generate --init run --prompt a --tokenizer byte"), HasSubstr("'gpt2', not 'byte'"));
  EXPECT_EQ(run("evaluate --init run --data pairs.h5").exit_code, 0);
}

TEST_F(TextCommands, RandomWindowsTrainTheSameOnAnySplit) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += static_cast<char>('a' + i * i % 23);
  file("t", text);
  said("data text t --out t.h5");
  model("gpt", 256);
  const auto train = [&](int ranks, const std::string& rest) {
    return run_lshdp_on(
        ranks, "train --model " + at("gpt.json") + " --data " + at("t.h5") + " --precision fp64 --log warn " + rest);
  };
  const auto save = [&](int ranks, const std::string& options, const std::string& name) {
    const CommandResult result = train(ranks, options + " --save " + at(name));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return at(name);
  };
  const std::string alone = save(1, "--batches 10 --steps 12 --windows random", "alone.safetensors");
  EXPECT_LT(worst_difference(save(3, "--batches 7,1,2 --steps 12 --windows random", "split.safetensors"), alone), 1e-9);
  EXPECT_GT(worst_difference(save(1, "--batches 10 --steps 12", "fixed.safetensors"), alone), 1e-4);
  // Others go on where one stopped, in the second epoch.
  const std::string run = " --results " + at("run");
  save(1, "--batches 10 --steps 7 --checkpoint-every 7 --windows random" + run, "half.safetensors");
  const std::string on = " --steps 12 --resume " + at("run") + run;
  const CommandResult other = train(1, "--batches 10" + on);
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.errors, HasSubstr("--windows random (now fixed)"));
  EXPECT_LT(worst_difference(save(2, "--batches 4,6 --windows random" + on, "resumed.safetensors"), alone), 1e-9);
}

}  // namespace
}  // namespace lshdp::test
