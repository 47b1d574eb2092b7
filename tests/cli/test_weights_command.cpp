// Weights from run to run and to other programs: what a run keeps, export, and every form that --init takes.
#include <filesystem>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/model/model.h"
#include "program.h"
#include "training_files.h"
#include "weights.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class SavedWeights : public TrainingFixture<> {
 protected:
  static std::string reference(const std::string& name) {
    return (fs::path(LSHDP_TEST_DATA).parent_path().parent_path() / "model" / "data" / name).string();
  }

  CommandResult train(int ranks, const std::string& model, const std::string& arguments) const {
    CommandResult result = run_lshdp_on(ranks, "train --log warn " + files_->options(model) + " " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result;
  }
  /// "loss .." of `lshdp evaluate`.
  std::string evaluate(const std::string& model, const std::string& init, const std::string& more = "") const {
    const CommandResult result =
        run_lshdp("evaluate --log warn --data " + files_->path(model + ".h5") + " --init " + init + " " + more);
    EXPECT_EQ(result.exit_code, 0) << init << "\n" << result.errors;
    return result.output.substr(0, result.output.size() - result.errors.size());
  }
  static double loss_of(const std::string& output) { return std::stod(output.substr(std::string("loss ").size())); }
  void refused(const std::string& command, const std::string& message, int code = 2) const {
    const CommandResult result = run_lshdp(command);
    EXPECT_EQ(result.exit_code, code) << command << "\n" << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(message));
    EXPECT_EQ(count_lines_with(result.errors, "lshdp "), 1) << result.errors;
  }
  static void expect_same(const std::string& a, const std::string& b) {
    const auto first = model::read_safetensors(a), second = model::read_safetensors(b);
    ASSERT_EQ(first.size(), second.size());
    for (const auto& [name, tensor] : first) EXPECT_TRUE(tensor.equal(second.at(name))) << name;
  }
  /// A file of tokens below 19 in rows of 7, as scripts/make_references.py has them.
  std::string tokens() const {
    std::string bytes;
    for (int i = 0; i <= 70; ++i) bytes += std::string{static_cast<char>((i * i + 3 * i) % 19), '\0'};
    write_file(folder_ / "t.bin", bytes);
    const CommandResult result =
        run_lshdp("data tokens " + out("t.bin") + " --dtype u16 --vocabulary 19 --out " + out("t.h5"));
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return out("t.h5");
  }
};

TEST_F(SavedWeights, AreInTheRunDirectoryWithTheModelThatTheyAreOf) {
  for (const std::string model : {"vit", "gpt", "mlp"}) {
    train(2, model, "--batches 12,4 --steps 3 --results " + out(model) + " --save " + out(model + ".safetensors"));
    EXPECT_EQ(read_file(out(model + "/model.safetensors")), read_file(out(model + ".safetensors")));
    EXPECT_EQ(model::make_model(out(model)).description, model::make_model(files_->path(model + ".json")).description);
    EXPECT_EQ(evaluate(model, out(model)),
              evaluate(model, out(model + ".safetensors"), "--model " + files_->path(model + ".json")));
  }
}

TEST_F(SavedWeights, AreWrittenOnceWhereSaveNamesTheRunsFileInAnotherWay) {
  train(1, "mlp", "--batches 16 --steps 2 --results " + out("run") + " --save " + out("x/../run/model.safetensors"));
  EXPECT_EQ(model::read_safetensors_metadata(out("run/model.safetensors")).at("step"), "2");
}

TEST_F(SavedWeights, AreNeverReplacedByARunThatBeginsWithThem) {
  fs::create_directory(folder_ / "gpt2");
  const std::string weights = out("gpt2/model.safetensors");
  ASSERT_EQ(run_lshdp("init --model " + files_->path("mlp.json") + " --save " + weights).exit_code, 0);
  for (const std::string& init : {weights, out("gpt2")})
    refused("train " + files_->options("mlp") + " --batches 16 --steps 1 --init " + init + " --save " + weights,
            "would overwrite an input");
}

TEST_F(SavedWeights, OfARunAreTheLastWhereItsNewestCheckpointOfThatStepIsDamaged) {
  train(1, "mlp", "--batches 16 --steps 2 --checkpoint-every 2 --results " + out("run"));
  fs::remove(out("run/checkpoints/step-2/rank-0.h5"));
  EXPECT_EQ(evaluate("mlp", out("run")), evaluate("mlp", out("run/model.safetensors")));
}

TEST_F(SavedWeights, OfARunComeFromItsCheckpointsOfAnyModePrecisionAndNumberOfRanks) {
  for (const std::string options : {"--mode ddp --precision bf16", "--mode fsdp --precision fp64",
                                    "--mode lsdp --precision fp16", "--mode fsdp --offload --precision bf16"}) {
    const std::string run = out("run");
    train(3, "gpt", "--batches 4,0,9 --steps 4 --checkpoint-every 2 --results " + run + " " + options);
    for (const std::string& source : {run, run + "/checkpoints/step-4"}) {
      const CommandResult exported = run_lshdp("export " + source + " --out " + out("new"));
      EXPECT_EQ(exported.exit_code, 0) << options << exported.errors;
      expect_same(out("new/model.safetensors"), run + "/model.safetensors");
      EXPECT_EQ(model::make_model(out("new")).description, model::make_model(run).description);
      fs::remove_all(out("new"));
    }
    EXPECT_EQ(evaluate("gpt", run + "/checkpoints/step-4", "--precision fp64"),
              evaluate("gpt", run, "--precision fp64"));
    EXPECT_NE(evaluate("gpt", run + "/checkpoints/step-2", "--precision fp64"),
              evaluate("gpt", run, "--precision fp64"));
    fs::remove_all(run);
  }
}

TEST_F(SavedWeights, OfARunThatHasNotEndedOrGoneOnAreThoseOfItsNewestCheckpoint) {
  train(1, "vit", "--batches 16 --steps 2 --checkpoint-every 2 --results " + out("run"));
  const std::string early = evaluate("vit", out("run")), early_file = read_file(out("run/model.safetensors"));
  train(1, "vit", "--batches 16 --steps 5 --checkpoint-every 5 --results " + out("run") + " --resume " + out("run"));
  const std::string late = evaluate("vit", out("run"));
  EXPECT_NE(early, late);
  // As if it had been interrupted after its second checkpoint.
  write_file(out("run/model.safetensors"), early_file);
  const std::string command = "evaluate --data " + files_->path("vit.h5") + " --init " + out("run");
  const CommandResult stale = run_lshdp(command);
  EXPECT_THAT(stale.output, StartsWith(late));
  EXPECT_THAT(stale.errors, HasSubstr("is of step 2, and the run has gone on since; taking its newest checkpoint, of "
                                      "step 5"));
  fs::remove(out("run/model.safetensors"));
  const CommandResult unfinished = run_lshdp(command);
  EXPECT_THAT(unfinished.output, StartsWith(late));
  EXPECT_THAT(unfinished.errors, HasSubstr("has no last weights yet; taking its newest checkpoint, step-5"));
  fs::remove_all(out("run/checkpoints"));
  refused(command, "has neither model.safetensors nor a checkpoint yet");
}

TEST_F(SavedWeights, OfStepsThatAreDoneAgainGetAnotherName) {
  const std::string common =
      "--batches 16 --checkpoint-every 2 --eval-every 1 --keep-best --keep-checkpoints 9 --eval-data " +
      files_->path("vit.h5") + " --results " + out("run") + " ";
  train(1, "vit", common + "--steps 6 --lr 1e-3");
  const std::string abandoned = read_file(out("run/model.safetensors"));
  const std::string loss = evaluate("vit", out("run")), best = evaluate("vit", out("run/best"));
  train(1, "vit", common + "--steps 5 --lr 1e-3 --resume " + out("run/checkpoints/step-4"));
  const std::string aside = out("run/abandoned-step-6.safetensors");
  EXPECT_EQ(read_file(aside), abandoned);
  EXPECT_EQ(model::read_safetensors_metadata(out("run/model.safetensors")).at("step"), "5");
  EXPECT_EQ(evaluate("vit", aside), loss);
  EXPECT_EQ(evaluate("vit", out("run/best/abandoned-step-6.safetensors")), best);
  const CommandResult exported = run_lshdp("export " + aside + " --out " + out("exported"));
  EXPECT_EQ(exported.exit_code, 0) << exported.errors;
  expect_same(out("exported/model.safetensors"), aside);
  train(1, "vit", "--batches 4 --steps 1 --init " + aside);
  // Once more to step 6 and back.
  train(1, "vit", common + "--steps 6 --lr 1e-3 --resume " + out("run"));
  train(1, "vit", common + "--steps 5 --lr 1e-3 --resume " + out("run/checkpoints/step-4"));
  EXPECT_EQ(read_file(aside), abandoned);
  EXPECT_TRUE(fs::exists(out("run/abandoned-step-6-2.safetensors")));
}

TEST_F(SavedWeights, OfARunAreEvaluatedWithItsStatisticsAndItsTokenizer) {
  train(1, "vit", "--batches 16 --steps 2 --results " + out("run"));
  ASSERT_EQ(
      run_lshdp("data synthetic-images --count 60 --channels 1 --size 8 --classes 5 --seed 9 --out " + out("other.h5"))
          .exit_code,
      0);
  fs::create_directories(out("elsewhere"));
  for (const char* name : {"model.safetensors", "config.json"})
    fs::copy(out("run/" + std::string(name)), out("elsewhere/" + std::string(name)));
  const std::string command = "evaluate --precision fp64 --data " + out("other.h5") + " --init ";
  const std::string by_run = run_lshdp(command + out("run")).output;
  EXPECT_THAT(by_run, HasSubstr("over 60 samples"));
  EXPECT_EQ(by_run, run_lshdp(command + out("elsewhere") + " --trained-on " + files_->path("vit.h5")).output);
  EXPECT_NE(by_run, run_lshdp(command + out("elsewhere")).output);
  Json said = read_json(out("run/run.json"));
  said["data"] = {{"kind", "tokens"}, {"path", "/data/web.h5"}, {"tokenizer", "gpt2"}, {"vocabulary", 50257}};
  write_file(out("t.txt"), std::string(300, 'a'));
  ASSERT_EQ(run_lshdp("data text " + out("t.txt") + " --out " + out("bytes.h5")).exit_code, 0);
  const std::string gpt = R"({"type":"gpt2","n_layer":1,"n_head":1,"n_embd":4,"n_positions":8,"vocab_size":256})";
  write_file(out("gpt.json"), gpt);
  ASSERT_EQ(run_lshdp("init --model " + out("gpt.json") + " --save " + out("run/model.safetensors")).exit_code, 0);
  write_file(out("run/config.json"), gpt);
  write_json(out("run/run.json"), said);
  refused("evaluate --data " + out("bytes.h5") + " --init " + out("run"),
          "/data/web.h5 was made with the tokenizer 'gpt2' with 50257 tokens, " + out("bytes.h5") + " with 'byte'");
}

TEST_F(SavedWeights, OfTheBestEvaluationAreKeptIfAsked) {
  // The rate is far too high from the second evaluation on.
  train(2, "vit",
        "--batches 8,8 --steps 12 --lr 0.3 --warmup 12 --eval-every 2 --keep-best --eval-data " +
            files_->path("vit.h5") + " --results " + out("run"));
  double least = 1e9;
  std::int64_t step = 0;
  std::istringstream lines(read_file(out("run/metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line);
    if (record["record"] != "evaluation" || record["loss"].get<double>() >= least) continue;
    least = record["loss"];
    step = record["step"];
  }
  EXPECT_LT(step, 12);
  const Json best = read_json(out("run/summary.json")).at("best");
  EXPECT_EQ(best["step"], step);
  EXPECT_EQ(best["loss"], least);
  EXPECT_NEAR(loss_of(evaluate("vit", out("run/best"))), least, 2e-6);
  EXPECT_GT(loss_of(evaluate("vit", out("run"))), least + 1e-3);
  refused("train " + files_->options("vit") + " --batches 4 --steps 1 --keep-best --results " + out("other"),
          "--keep-best needs --eval-data");
}

TEST_F(SavedWeights, OfTheBestEvaluationOutliveAResumeThatDoesNotGetThere) {
  const std::string common = "--batches 16 --eval-every 2 --keep-best --eval-data " + files_->path("vit.h5") +
                             " --checkpoint-every 2 --results " + out("run") + " ";
  train(1, "vit", common + "--steps 4 --lr 1e-3");
  const Json before = read_json(out("run/summary.json")).at("best");
  const std::string kept = read_file(out("run/best/model.safetensors"));
  // Training on with a rate that ruins the weights.
  train(1, "vit", common + "--steps 6 --lr 5 --resume-with-changes --resume " + out("run"));
  EXPECT_EQ(read_json(out("run/summary.json")).at("best"), before);
  EXPECT_EQ(read_file(out("run/best/model.safetensors")), kept);
}

// transformers 5.24.0: GPT2LMHeadModel of tests/model/data/gpt2-shards in float64, mean cross-entropy over the 70
// tokens of tokens().
TEST_F(SavedWeights, OfTransformersInAnyFormGiveItsLoss) {
  const std::string command = "evaluate --precision fp64 --data " + tokens() + " ";
  const std::string model = " --model " + reference("gpt2.json");
  for (const std::string& init :
       {reference("gpt2-shards"), reference("gpt2-shards/model.safetensors.index.json"),
        reference("gpt2.wrapped.safetensors") + model, reference("gpt2.head-only.safetensors") + model}) {
    const CommandResult result = run_lshdp(command + "--init " + init);
    EXPECT_EQ(result.exit_code, 0) << init << result.errors;
    EXPECT_THAT(result.output, HasSubstr("loss 3.107636 ")) << init;
  }
  refused(command + "--init " + reference("gpt2.wrapped.safetensors"), "--model MODEL is missing");
  EXPECT_EQ(run_lshdp("export " + reference("gpt2-shards") + " --out " + out("whole")).exit_code, 0);
  EXPECT_THAT(run_lshdp(command + "--init " + out("whole")).output, HasSubstr("loss 3.107636 "));
}

TEST_F(SavedWeights, AreExportedInTheTypeThatIsAskedFor) {
  const std::string shards = reference("gpt2-shards");
  const auto wanted = model::read_safetensors(reference("gpt2.weights.safetensors"));
  for (const auto& [name, type, config] :
       {std::tuple("fp32", at::kFloat, "float32"), std::tuple("bf16", at::kBFloat16, "bfloat16"),
        std::tuple("fp16", at::kHalf, "float16"), std::tuple("fp64", at::kDouble, "float64")}) {
    const CommandResult result = run_lshdp("export " + shards + " --out " + out(name) + " --dtype " + name);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.output, HasSubstr("gpt2-shards: 4,104 parameters"));
    EXPECT_EQ(read_json(out(name + std::string("/config.json"))).at("torch_dtype"), config);
    for (const auto& [tensor, value] : model::read_safetensors(out(name + std::string("/model.safetensors")))) {
      EXPECT_EQ(value.scalar_type(), type);
      EXPECT_TRUE(value.equal(wanted.at(tensor).to(at::kFloat).to(type))) << tensor;
    }
  }
  EXPECT_EQ(run_lshdp("export " + shards + " --out " + out("one.safetensors")).exit_code, 0);
  EXPECT_EQ(read_file(out("one.safetensors")), read_file(out("fp32/model.safetensors")));
}

TEST_F(SavedWeights, AreNotExportedOverAnythingNorIntoATypeThatDoesNotHoldThem) {
  const std::string shards = reference("gpt2-shards");
  ASSERT_EQ(run_lshdp("export " + shards + " --out " + out("one")).exit_code, 0);
  refused("export " + shards + " --out " + out("one"), "--out: " + out("one/model.safetensors") + " is there already");
  refused("export " + shards + " --out /proc/lshdp", "--out");
  refused("export " + shards + " --out " + out("x") + " --dtype int8", "--dtype: 'int8' is not known");
  auto tensors = model::read_safetensors(out("one/model.safetensors"));
  tensors.at("transformer.ln_f.bias")[2] = 70000;
  model::write_safetensors(out("large.safetensors"), {tensors.begin(), tensors.end()});
  refused("export " + out("large.safetensors") + " --model " + shards + " --out " + out("half.safetensors") +
              " --dtype fp16",
          "tensor transformer.ln_f.bias holds values up to 7e+04, which this type cannot");
  EXPECT_FALSE(fs::exists(out("half.safetensors")));
  EXPECT_FALSE(fs::exists(out("half.safetensors.tmp")));
}

TEST_F(SavedWeights, ThatAreNotThereOrOfAnotherFormAreRefusedByName) {
  const std::string command =
      "evaluate --data " + files_->path("gpt.h5") + " --model " + files_->path("gpt.json") + " --init ";
  refused(command + out("absent"), "--init: there is no " + out("absent"));
  fs::create_directories(out("empty"));
  refused(command + out("empty"),
          "holds neither model.safetensors, model.safetensors.index.json, a run nor a "
          "checkpoint, but nothing");
  fs::create_directories(out("pickled"));
  write_file(out("pickled/pytorch_model.bin"), "PK\3\4");
  refused(command + out("pickled"), "safe_serialization=True");
  refused(command + out("pickled/pytorch_model.bin"), "is a file that PyTorch wrote (torch.save)");
  refused(command + files_->path("gpt.h5"), "is an HDF5 file");
  refused(command + files_->path("gpt.json"), "is JSON and holds no weights");
  // Also where their model would have to be asked for.
  refused("export " + files_->path("gpt.json") + " --out " + out("x"), "is JSON and holds no weights");
  train(1, "gpt", "--batches 4 --steps 1 --checkpoint-every 1 --results " + out("run"));
  for (const char* part : {"rank-0.h5", "manifest.json"})
    refused(command + out("run/checkpoints/step-1/") + part, "is one file of a checkpoint; give its folder");
}

TEST_F(SavedWeights, ThatAreNotFiniteEndWithOneLine) {
  const std::string shards = reference("gpt2-shards");
  auto tensors = model::read_safetensors(reference("gpt2.weights.safetensors"));
  tensors.at("transformer.ln_f.bias")[2] = std::numeric_limits<double>::quiet_NaN();
  model::write_safetensors(out("nan.safetensors"), {tensors.begin(), tensors.end()});
  const std::string weights = " --model " + shards + " --init ";
  const std::string line = "tensor transformer.ln_f.bias is not finite: 1 NaN and 0 infinite of 12 values";
  refused("evaluate --data " + tokens() + weights + out("nan.safetensors"), line);
  refused("export " + out("nan.safetensors") + " --model " + shards + " --out " + out("x"), line);
  refused("train --batches 4 --steps 1 --data " + tokens() + " --save " + out("y") + weights + out("nan.safetensors"),
          line);
  // Finite weights whose logits are not.
  tensors.at("transformer.ln_f.bias").fill_(1e38);
  tensors.at("transformer.wte.weight").fill_(1e30);
  model::write_safetensors(out("huge.safetensors"), {tensors.begin(), tensors.end()});
  refused("evaluate --data " + tokens() + weights + out("huge.safetensors"), "the loss over 10 samples is not finite",
          1);
}

TEST_F(SavedWeights, ThatATrainingMadeInfiniteAreNotKept) {
  const CommandResult result = run_lshdp_on(
      2, "train --log warn " + files_->options("vit") + " --batches 4,4 --steps 1 --lr 1e39 --results " + out("run"));
  EXPECT_EQ(result.exit_code, 1) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("the weights are not finite after step 1"));
  EXPECT_FALSE(fs::exists(out("run/model.safetensors")));
}

TEST_F(SavedWeights, ThatTheDiskHasNoRoomForAreToldBeforeTheFirstStep) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can mount a small file system";
  fs::create_directories(out("disk"));
  if (run_command("mount -t tmpfs -o size=20k lshdp-test " + out("disk")).exit_code != 0)
    GTEST_SKIP() << "a small file system cannot be mounted here";
  const std::string command = "train " + files_->options("gpt") + " --batches 4 --steps 1000000 ";
  refused(command + "--results " + out("disk"), "No space left on device", 1);
  refused(command + "--save " + out("disk/w.safetensors"), "but the weights take", 1);
  run_command("umount " + out("disk"));
}

TEST_F(SavedWeights, ThatNobodyKeepsAreWarnedOf) {
  const CommandResult nothing = train(1, "vit", "--batches 4 --steps 1");
  EXPECT_THAT(nothing.errors, HasSubstr("nothing of this run will be kept, not even its weights"));
  EXPECT_THAT(train(1, "vit", "--batches 4 --steps 1 --save " + out("w")).errors, Not(HasSubstr("will be kept")));
  EXPECT_THAT(train(1, "vit", "--batches 4 --steps 1 --results " + out("r")).errors, Not(HasSubstr("will be kept")));
}

}  // namespace
}  // namespace lshdp::test
