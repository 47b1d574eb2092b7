// Fine-tuning by the command line: PyTorch's own weights in every mode, resumed runs, what is refused.
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
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

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const std::string kQuiet = "--log warn --precision fp64 ";

/// Two stages for the first samples, one for the rest.
constexpr const char* kStages =
    R"({"version":1,"blocks":6,"replicas":[{"batch":5,"micro_batches":[2,3],"stages":[{"rank":2,"start":0,"end":2},)"
    R"({"rank":0,"start":2,"end":6}]},{"batch":7,"micro_batches":[7],"stages":[{"rank":1,"start":0,"end":6}]}]})";

/// The same of a model whose last block uses the table of its first.
constexpr const char* kRing =
    R"({"version":1,"blocks":6,"replicas":[{"batch":5,"micro_batches":[2,3],"stages":[{"rank":2,"start":0,"end":2},)"
    R"({"rank":0,"start":2,"end":5},{"rank":2,"start":5,"end":6}]},)"
    R"({"batch":7,"micro_batches":[7],"stages":[{"rank":1,"start":0,"end":6}]}]})";

/// The runs of scripts/make_fine_tuning_references.py.
class FineTuning : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryDirectory>();
    Json vit = read_json(MODEL_DATA "/vit.json");
    vit["image_size"] = 12;
    vit["num_classes"] = 7;
    write_file(path("vit.json"), json_text(vit));
    fs::copy(MODEL_DATA "/gpt2.json", path("gpt2.json"));
    make("vit", "synthetic-images --count 12 --channels 3 --size 12 --classes 7 --seed 1");
    make("gpt2", "synthetic-tokens --count 85 --vocab 19 --seed 1");
    write_file(path("layout.json"), kStages);
    write_file(path("ring.json"), kRing);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static void make(const std::string& name, const std::string& arguments) {
    EXPECT_EQ(run_lshdp("data " + arguments + " --out " + path(name + ".h5")).exit_code, 0);
  }
  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }
  static std::string data(const std::string& name) {
    return " --model " + path(name + ".json") + " --data " + path(name + ".h5");
  }
  static std::string begin(const std::string& name) {
    return std::string(" --init ") + MODEL_DATA "/" + name + ".weights.safetensors" +
           (name == "vit" ? " --new-head" : "");
  }
  static std::string freeze(const std::string& name) {
    return name == "vit" ? " --freeze 'conv_proj.*,class_token,encoder.layers.encoder_layer_0.mlp.*'"
                         : " --freeze 'transformer.wpe.*,transformer.h.0.attn.*'";
  }
  static std::string rates() { return " --lr 1e-2 --layer-decay 0.7 --weight-decay 0.05"; }
  static std::string tuning(const std::string& name) { return data(name) + begin(name) + freeze(name) + rates(); }
  static CommandResult train(int ranks, const std::string& arguments) {
    CommandResult result = run_lshdp_on(ranks, "train " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result;
  }
  static void refused(const std::string& arguments, const std::string& words) {
    const std::string precision = arguments.find("--precision") == std::string::npos ? "--precision fp64 " : "";
    const CommandResult result = run_lshdp("train --batches 12 " + precision + arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.errors, HasSubstr(words));
  }
  static double difference_to_pytorch(const std::string& file, const std::string& name) {
    return worst_difference(file, std::string(MODEL_DATA "/") + name + ".tuned.safetensors");
  }

  static inline std::unique_ptr<TemporaryDirectory> folder_;
};

TEST_F(FineTuning, ArrivesAtTheWeightsOfPyTorchInEveryModeAndAPipeline) {
  const std::vector<std::pair<std::string, std::string>> cases{{"vit", "--batches 2,9,1 --mode lsdp"},
                                                               {"vit", "--batches 1,3,8 --mode fsdp --recompute"},
                                                               {"vit", "--layout " + path("layout.json")},
                                                               {"gpt2", "--batches 7,0,5"},
                                                               {"gpt2", "--layout " + path("ring.json")}};
  for (const auto& [name, way] : cases) {
    train(3, kQuiet + "--steps 20 " + way + tuning(name) + " --save " + path("tuned.safetensors"));
    EXPECT_LT(difference_to_pytorch(path("tuned.safetensors"), name), 1e-9) << name << ' ' << way;
  }
}

TEST_F(FineTuning, SaysWhatIsFreshAndWhatIsInterpolatedAndWhatIsTrained) {
  const CommandResult result =
      train(1, "--steps 20 --batches 12 --precision fp32" + tuning("vit") + " --save " + path("single.safetensors"));
  EXPECT_THAT(result.errors, AllOf(HasSubstr("--new-head: a fresh head of 7 classes; "), HasSubstr(" has one of 5"),
                                   HasSubstr("positions of 2 x 2 patches (images of 8) are interpolated to 3 x 3 "
                                             "(images of 12)"),
                                   HasSubstr("parameters are trained")));
  EXPECT_EQ(result.errors.find("a fresh head"), result.errors.rfind("a fresh head"));
  EXPECT_LT(difference_to_pytorch(path("single.safetensors"), "vit"), 1e-5);
}

/// A stage may hold nothing that is trained.
TEST_F(FineTuning, TrainsTheSameWhereWholeBlocksAreFrozen) {
  const std::string frozen = data("vit") + begin("vit") +
                             " --freeze 'conv_proj.*,class_token,encoder.pos_*,encoder.layers.encoder_layer_0.*'"
                             " --clip 0.5 --lr 1e-2 --steps 4 --save ";
  train(1, kQuiet + "--batches 12" + frozen + path("one.safetensors"));
  for (const std::string& way : {std::string("--batches 5,4,3 --mode fsdp"), "--layout " + path("layout.json")}) {
    train(3, kQuiet + way + frozen + path("three.safetensors"));
    EXPECT_LT(worst_difference(path("three.safetensors"), path("one.safetensors")), 1e-9) << way;
  }
}

TEST_F(FineTuning, GoesOnFromACheckpointWhoseWeightsAreWhole) {
  const std::string run = path("run");
  train(2, kQuiet + "--batches 9,3 --steps 10 --checkpoint-every 10 --results " + run + tuning("vit"));
  const auto begun = model::read_safetensors(MODEL_DATA "/vit.weights.safetensors");
  EXPECT_TRUE(model::read_safetensors(run + "/model.safetensors").at("class_token").equal(begun.at("class_token")));
  fs::copy(run + "/model.safetensors", path("saved.safetensors"));
  ASSERT_EQ(run_lshdp("export " + run + "/checkpoints/step-10 --out " + path("exported.safetensors")).exit_code, 0);
  EXPECT_EQ(worst_difference(path("exported.safetensors"), path("saved.safetensors")), 0);
  train(3, kQuiet + "--batches 4,4,4 --steps 20 --resume " + run + tuning("vit"));
  EXPECT_LT(difference_to_pytorch(run + "/model.safetensors", "vit"), 1e-9);
  EXPECT_FALSE(read_json(run + "/config.json").contains("freeze"));
}

TEST_F(FineTuning, IsGoneOnWithAsItBeganOnly) {
  const std::string run = path("strict");
  train(1, kQuiet + "--batches 12 --steps 2 --checkpoint-every 2 --results " + run + tuning("vit"));
  const std::string resume = "--steps 4 --resume " + run + data("vit");
  refused(resume + begin("vit") + " --freeze 'conv_proj.*'" + rates(), "freeze then [");
  refused(resume + rates(), "was written with another model; freeze then [");
  refused(resume + freeze("vit") + rates(), "--init");
  refused(resume + begin("vit") + freeze("vit") + " --lr 1e-2 --weight-decay 0.05", "--layer-decay 0.7 (now 1.0)");
}

TEST_F(FineTuning, BeginsWithACheckpointOfOtherClasses) {
  const std::string earlier = path("earlier");
  make("eight", "synthetic-images --count 12 --channels 3 --size 8 --classes 5 --seed 1");
  const std::string of_eight = std::string("--model " MODEL_DATA "/vit.json --data ") + path("eight.h5");
  train(1, kQuiet + "--batches 12 --steps 1 --checkpoint-every 1 --lr 1e-2 --results " + earlier + " " + of_eight);
  const std::string init = data("vit") + " --steps 1 --lr 1e-2 --init " + earlier + "/checkpoints/step-1";
  const CommandResult tuned = train(1, "--batches 12 --new-head" + init);
  EXPECT_THAT(tuned.errors, HasSubstr("a fresh head of 7 classes"));
  refused(init, "is of another model than --model");
}

TEST_F(FineTuning, KeepsPyTorchsMovingAverageBesideTheSameWeights) {
  const std::string averaging = " --ema 0.9 --eval-data " + path("vit.h5") + tuning("vit"), run = path("averaged");
  const std::string average = run + "/ema/model.safetensors";
  for (const std::string& way :
       {std::string("--batches 2,9,1 --mode lsdp"), "--eval-every 4 --layout " + path("layout.json")}) {
    fs::remove_all(run);
    train(3, kQuiet + "--steps 20 " + way + averaging + " --results " + run);
    EXPECT_LT(worst_difference(average, MODEL_DATA "/vit.ema.safetensors"), 1e-9) << way;
    EXPECT_LT(difference_to_pytorch(run + "/model.safetensors", "vit"), 1e-9) << way;
  }
  const double loss = read_json(run + "/summary.json").at("evaluation").at("average_loss");
  const CommandResult alone =
      run_lshdp("evaluate --log warn --precision fp64 --init " + run + "/ema --data " + path("vit.h5"));
  EXPECT_THAT(alone.output, HasSubstr(fmt::format("loss {:.4f}", loss)));
}

TEST_F(FineTuning, GoesOnWithTheMovingAverageOfItsCheckpoint) {
  const std::string run = path("averaged-on"), averaging = " --ema 0.9 --checkpoint-every 5 --batches ";
  train(2, kQuiet + "--steps 10 --results " + run + tuning("vit") + averaging + "9,3");
  const CommandResult checked = run_lshdp("checkpoint verify " + run + "/checkpoints/step-10");
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
  refused("--steps 20 --resume " + run + tuning("vit") + " --ema 0.99", "--ema 0.9 (now 0.99)");
  train(3, kQuiet + "--steps 20 --resume " + run + tuning("vit") + averaging + "4,4,4");
  EXPECT_LT(worst_difference(run + "/ema/model.safetensors", MODEL_DATA "/vit.ema.safetensors"), 1e-9);
  refused("--steps 1 --wire bf16 --ema 0.9 --precision fp32" + data("vit"), "--ema");
}

TEST_F(FineTuning, DropsTheSameOfASampleHoweverItIsSplit) {
  const std::string dropping = tuning("vit") + " --dropout 0.2 --stochastic-depth 0.3 --steps 5 --results ";
  train(1, kQuiet + "--batches 12" + dropping + path("dropped"));
  train(3, kQuiet + "--recompute --batches 7,4,1" + dropping + path("dropped-by-three"));
  const std::string weights = path("dropped") + "/model.safetensors";
  EXPECT_LT(worst_difference(path("dropped-by-three") + "/model.safetensors", weights), 1e-9);
  train(1, kQuiet + "--batches 12 --steps 5" + tuning("vit") + " --save " + path("whole.safetensors"));
  EXPECT_GT(worst_difference(path("whole.safetensors"), weights), 1e-3);
  refused("--steps 1 --dropout 0.1" + data("gpt2"), "--dropout: gpt2 has none");
}

TEST_F(FineTuning, RefusesWhatDoesNotGoTogether) {
  const std::string steps = "--steps 1" + data("vit"), of_gpt = "--steps 1" + data("gpt2");
  refused(steps + " --new-head", "--new-head needs --init");
  refused(steps + " --init " MODEL_DATA "/vit.weights.safetensors", "lshdp train --new-head begins with a fresh one");
  refused(of_gpt + begin("gpt2") + " --new-head", "--new-head: gpt2 has no head of classes that is known");
  refused(steps + begin("vit") + " --freeze 'heads.*'", "--freeze: heads.head.weight is fresh with --new-head");
  refused(steps + begin("vit") + " --freeze 'encoder.layer.*'", "did you mean encoder.layers.*?");
  refused(steps + begin("vit") + " --lora r=2,targets=mlp.0", "--new-head");
  refused(of_gpt + begin("gpt2") + " --lora r=2,targets=c_attn --freeze '*.wte.*'", "--freeze: adapters alone");
  refused(steps + " --freeze '*'", "nothing is left to train");
  refused(steps + " --layer-decay 1.5", "--layer-decay");
}

}  // namespace
}  // namespace lshdp::test
