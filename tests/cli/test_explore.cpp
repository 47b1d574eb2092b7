// lshdp explore: what it prints and writes, and each bad input.
#include <algorithm>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

void expect_refusal(const std::string& options, const std::string& message) {
  const CommandResult result = run_lshdp("explore " + options);
  EXPECT_EQ(result.exit_code, 2) << options;
  EXPECT_THAT(result.errors, HasSubstr(message));
  EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  EXPECT_EQ(result.output, result.errors);
}

TEST(Explore, AnswersTheQuestionOfItsHelp) {
  const CommandResult result = run_lshdp(
      "explore --config-name llama3.1-405b.yaml +ngpus_range='[8,128,1024,10240]' model.seq_length=8192 "
      "device=h100-80gb --top 3 --by gpus");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("405,853,388,800 parameters"), HasSubstr("138,240 combinations, 26,028 possible"),
                    HasSubstr("global_batch_size is not divisible by DP x micro-batch"),
                    HasSubstr("of those that fit NVIDIA H100"), HasSubstr("7-8")));
}

TEST(Explore, WritesEveryLayoutAndWhatItShows) {
  TemporaryDirectory folder;
  const std::string csv = (folder / "new/all.csv").string(), json = (folder / "new/best.json").string();
  const std::string what = "explore --config-name llama3.1-8b +ngpus_range='[16,8]' +tp_range='[2,1]' --top 4 --csv ";
  const CommandResult result = run_lshdp(what + csv + " --json " + json);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const Json best = read_json(json);
  EXPECT_EQ(best["top"].size(), 4U);
  EXPECT_EQ(best["parameters"], 8'030'261'248);
  const std::string lines = read_file(csv);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), best["valid"].get<std::int64_t>() + 1);
  EXPECT_TRUE(lines.starts_with("name,ngpus,TP,PP,EP,CP,DP,sub_seq_length,"));
  EXPECT_FALSE(std::filesystem::exists(csv + ".tmp"));
  // The order of ranges changes nothing.
  const std::string again = (folder / "again.csv").string();
  ASSERT_EQ(
      run_lshdp("explore --config-name llama3.1-8b +ngpus_range='[8,16]' +tp_range='[1,2]' --csv " + again).exit_code,
      0);
  EXPECT_EQ(read_file(again), lines);
}

TEST(Explore, PutsIntoHostMemoryWhatADeviceCannotHold) {
  TemporaryDirectory folder;
  const std::string json = (folder / "best.json").string();
  const std::string what =
      "explore --config-name llama3.1-8b device=a10-24gb +ngpus_range=1 +recompute_range=full "
      "+offload_range='[none,parameters]' "
      "model.seq_length=2048 --top 3 ";
  const CommandResult timed = run_lshdp(what + "cluster=dgx-a100 --by time --json " + json);
  ASSERT_EQ(timed.exit_code, 0) << timed.errors;
  EXPECT_THAT(timed.output, AllOf(HasSubstr("offload of parameters needs FULLY_SHARD"), HasSubstr("host GiB/node")));
  const Json best = read_json(json);
  EXPECT_EQ(best["top"][0]["layout"]["offload"], "parameters");
  EXPECT_EQ(best["top"][0]["verdict"], "fits");
  EXPECT_EQ(best["top"][0]["node_host_bytes"], 16.0 * 8'030'261'248);
  EXPECT_THAT(run_lshdp(what).output,
              AllOf(HasSubstr("host memory is not known"), HasSubstr("to be given as cluster.host_memory")));
}

TEST(Explore, TakesAConfigurationByPathAndOneOfHuggingFace) {
  TemporaryDirectory folder;
  write_file(folder / "mine.yaml", "defaults: [llama3.1-8b, _self_]\nmodel: {name: mine, num_layers: 16}\n");
  const CommandResult mine = run_lshdp("explore --config-name " + (folder / "mine.yaml").string() + " +ngpus_range=8");
  EXPECT_THAT(mine.output, HasSubstr("mine: 4,540,469,248 parameters, 16 layers"));
  write_file(folder / "config.json", R"({"model_type": "llama", "vocab_size": 128256, "num_hidden_layers": 32,
      "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336})");
  const std::string model = "--model " + folder.path().string() + " +ngpus_range=8 ";
  expect_refusal(model, "model.global_batch_size is missing; give it as model.global_batch_size=..");
  const CommandResult taken =
      run_lshdp("explore " + model + "model.global_batch_size=64 model.seq_length=4096 device=a100-80gb");
  EXPECT_THAT(taken.output, AllOf(HasSubstr("8,030,261,248 parameters"), HasSubstr("fit NVIDIA A100 80GB")));
}

TEST(Explore, RanksByTimeWhereThereIsACluster) {
  TemporaryDirectory folder;
  const std::string json = (folder / "best.json").string(), csv = (folder / "all.csv").string();
  const std::string trace = (folder / "step.json").string();
  const CommandResult result = run_lshdp(
      "explore --config-name llama3.1-8b +ngpus_range='[8,16]' +pp_range='[1,2]' device=a100-80gb cluster=dgx-a100 "
      "--by "
      "time --top 3 --json " +
      json + " --csv " + csv + " --trace " + trace);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("The first 3 by time of those that fit"), HasSubstr("tokens/s/device"),
                                   HasSubstr("MFU"), HasSubstr("Shorter steps or less memory")));
  const Json best = read_json(json);
  double before = 0;
  for (const Json& candidate : best["top"]) {
    const Json& time = candidate["time"];
    double sum = 0;
    for (const char* part : {"compute", "exchange", "bubble", "gradient", "optimizer"})
      sum += time[std::string(part) + "_seconds"].get<double>();
    EXPECT_NEAR(sum, time["step_seconds"], 1e-9 * sum);
    EXPECT_NEAR(time["simulated_step_seconds"], time["step_seconds"], 0.05 * sum);
    EXPECT_GE(time["step_seconds"], before);
    before = time["step_seconds"];
  }
  const std::string lines = read_file(csv);
  EXPECT_THAT(lines.substr(0, lines.find('\n')), HasSubstr(",device,verdict,step_seconds,tokens_per_second,"));
  const Json events = read_json(trace);
  EXPECT_TRUE(std::ranges::any_of(events, [](const Json& event) { return event["name"] == "update"; }));
}

TEST(Explore, NamesWhatTimesNeed) {
  const std::string config = "--config-name llama3.1-8b +ngpus_range=8 ";
  expect_refusal(config + "device=a100-80gb --by time", "cluster is missing, and --by time needs it");
  expect_refusal(config + "cluster=dgx-a100", "device is missing, and times need it");
  expect_refusal(config + "cluster=dgx-a1000 device=a100-80gb", "there is no cluster 'dgx-a1000'");
  expect_refusal(config + "cluster=dgx-a100 device=mi300x-192gb",
                 "device.float16_tflops is missing, and times need it");
  expect_refusal(config + "cluster=dgx-a100 device=a100-80gb ~device.memory_bandwidth_gb_s",
                 "device.memory_bandwidth_gb_s is missing, and times need it");
  expect_refusal(config + "cluster=dgx-a100 device=a100-80gb ~cluster.bandwidth_between_nodes_gb_s",
                 "cluster.bandwidth_between_nodes_gb_s is missing, and times need it");
  expect_refusal(config + "cluster=dgx-a100 device=a100-80gb cluster.bandwidth_within_node_gb_s=0",
                 "cluster.bandwidth_within_node_gb_s must be from");
  expect_refusal(config + "cluster=dgx-a100 device=a100-80gb cluster.devices_per_node=0", "must be at least 1, not 0");
  expect_refusal(config + "cluster=dgx-a100 device=a100-80gb device.matmul_share=2", "must be from 0.001 to 1, not 2");
  expect_refusal(config + "device=a100-80gb cluster=dgx-a100 --top 0 --trace x", "--trace: it shows the first layout");
}

TEST(Explore, SaysWhatWouldFitWhereNothingDoes) {
  const CommandResult result =
      run_lshdp("explore --config-name llama3.1-70b device=a100-40gb +ngpus_range=8 +sharding_range=NO_OP --top 1");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("No layout fits NVIDIA A100 40GB"), HasSubstr("does not fit"),
                                   HasSubstr("on 64 devices")));
}

TEST(Explore, RefusesWhatItCannotDoInOneLine) {
  const std::string config = "--config-name llama3.1-8b ";
  expect_refusal("", "--config-name is missing: one of base, deepseek-v3");
  expect_refusal("--config-name llama3.1-9b", "did you mean llama3.1-8b?");
  expect_refusal("--config-name /nowhere/x.yaml", "there is no configuration 'x.yaml'");
  expect_refusal(config + "model.seq_lenght=1", "did you mean model.seq_length?");
  expect_refusal(config + "+model.seq_lenght=1", "model.seq_lenght is not known; did you mean model.seq_length?");
  expect_refusal(config + "~model.hidden_size", "model.hidden_size is missing");
  expect_refusal(config + "model.num_layers=[1]", "must be a whole number, not a list");
  expect_refusal(config + "model.num_layers=0", "must be at least 1, not 0");
  expect_refusal(config + "model.num_key_value_heads=5", "must be divisible by num_key_value_heads");
  expect_refusal(config + "device=h1000", "there is no device 'h1000'");
  expect_refusal(config + "model.vocab_size=99999999999999999999", "too large");
  expect_refusal(config + "+tp_range=7", "what leaves nothing: num_attention_heads is not divisible by TP");
  expect_refusal(config + "+ngpus_range=3", "what leaves nothing: global_batch_size is not divisible");
  expect_refusal(config + "model.name", "a value is missing");
  expect_refusal(config + "--by speed", "--by: 'speed' is not known");
  expect_refusal(config + "--model x", "exclude each other");
  expect_refusal("--model /nowhere", "cannot read /nowhere");
}

TEST(Explore, LeavesFilesAloneThatItReadsOrCannotWrite) {
  TemporaryDirectory folder;
  const std::string path = (folder / "mine.yaml").string();
  write_file(path, "defaults: [llama3.1-8b]\n");
  expect_refusal("--config-name " + path + " --csv " + path, "--csv");
  expect_refusal("--config-name " + path + " --csv " + path + "/x.csv", "--csv: cannot create");
  const std::string out = (folder / "x").string();
  expect_refusal("--config-name " + path + " --csv " + out + " --json " + out, "--json: this is the file of --csv");
  expect_refusal("--config-name " + path + " +tp_range=7 --csv " + out, "what leaves nothing");
  EXPECT_FALSE(std::filesystem::exists(out));
  EXPECT_FALSE(std::filesystem::exists(out + ".tmp"));
}

TEST(Explore, FindsConfigurationsWhereItIsTold) {
  TemporaryDirectory folder;
  const std::string variable = "LSHDP_CONFIGS=" + (folder / "configs").string() + " ";
  std::filesystem::create_directories(folder / "configs/explore");
  write_file(folder / "configs/explore/tiny.yaml",
             "model: {name: tiny, global_batch_size: 8, vocab_size: 100, num_layers: 2, hidden_size: 64, "
             "num_attention_heads: 4, ffn_hidden_size: 128, seq_length: 64}\nngpus_range: 1\n");
  const CommandResult result = run_command(variable + lshdp_binary() + " explore --config-name tiny");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr("tiny: "));
}

}  // namespace
}  // namespace lshdp::test
