// The CSV's columns and values, and what JSON and tables hold.
#include <map>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/text.h"
#include "lshdp/explore/report.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

/// The row of the one layout of a space, by column.
std::map<std::string, std::string> row_of(const Settings& settings, const Layout& layout) {
  const Memory memory = estimate(settings.model, settings.trainer, layout);
  std::string csv;
  append_csv_row(settings, {layout, memory.worst_stage(), memory.loss, memory.mlp, memory.moe}, csv);
  EXPECT_EQ(csv.back(), '\n');
  std::istringstream cells(csv.substr(0, csv.size() - 1));
  std::map<std::string, std::string> row;
  for (const std::string& column : csv_columns()) std::getline(cells, row[column], ',');
  EXPECT_TRUE(cells.eof());
  return row;
}

void expect_row(const Settings& settings, const Layout& layout, const std::map<std::string, std::string>& texts,
                const std::map<std::string, double>& figures) {
  auto row = row_of(settings, layout);
  for (const auto& [column, text] : texts) EXPECT_EQ(row[column], text) << column;
  for (const auto& [column, figure] : figures)
    EXPECT_NEAR(parse_double(row[column], column), figure, 1e-8 * figure) << column;
  EXPECT_EQ(texts.size() + figures.size(), 25U);
}

/// 4 layers of 1024, 8 heads, a gated MLP of 4096, 32,000 words, 64 sequences of 2048 tokens.
Model small_dense() {
  Model model = llama(4, 1024, 8, 8, 4096, 32000);
  model.name = "dense";
  model.global_batch_size = 64;
  model.seq_length = 2048;
  return model;
}

TEST(Csv, HasTheColumnsOfThePlannerAndThenOurs) {
  const std::vector<std::string> wanted{"name",
                                        "ngpus",
                                        "TP",
                                        "PP",
                                        "EP",
                                        "CP",
                                        "DP",
                                        "sub_seq_length",
                                        "micro_batch_size",
                                        "num_of_micro_batches",
                                        "pipeline_parallelism_bubble_rate",
                                        "data_parallel_sharding_strategy",
                                        "total_memory_gb",
                                        "model_and_optimizer_states_memory_gb",
                                        "activations_memory_gb",
                                        "cross_entropy_activation_memory_gb",
                                        "practice_activations_memory_gb",
                                        "expert_parameters_m",
                                        "non_expert_parameters_m",
                                        "expert_layers_activations_gb",
                                        "practice_expert_layers_activations_gb",
                                        "non_expert_layers_activations_gb",
                                        "mlp_activation_mb",
                                        "moe_activation_mb",
                                        "token_imbalance_hypothesis"};
  const std::vector<std::string>& columns = csv_columns();
  EXPECT_THAT(std::vector<std::string>(columns.begin(), columns.begin() + 25), ElementsAreArray(wanted));
  EXPECT_GT(columns.size(), 25U);
}

// A device holds, of each layer, 2 x 1024 x (512 + 512) = 2,097,152 parameters of attention, 3 x 1024 x 2048 =
// 6,291,456 of the MLP and 2,048 of norms; the last stage 2 layers, the head's 16,000 x 1024 and a norm: 33,166,336, at
// 6 + 12/2 bytes 397,996,032. A micro-batch has 4,096 tokens. A layer keeps
//   attention  2 x 4096 x (2 x 1024 + 4 x 1024 / 2) + 4 x 8 x 4096 / 2 = 33,619,968
//   its norm   2 x 4096 x 1024 = 8,388,608, and the MLP  2 x 4096 x (1024 + 3 x 4096 / 2) = 58,720,256
// The last stage has one micro-batch in flight: 2 x 100,728,832; with the head's two inputs, 16,777,216: 218,234,880.
// Logits: 10 x 4096 x 16,000 = 655,360,000, more than backward needs later. Buffers: 2 x 8,388,608 for TP, as many for
// PP; the gradient of the head and its norm, 2 x 16,385,024 bytes.
TEST(Csv, OfADenseModelIsWhatOneWorksOutByHand) {
  expect_row({small_dense(), {}, {}, {}},
             {.tensor = 2, .pipeline = 2, .devices = 8, .micro_batch = 2, .sharding = Sharding::optimizer_states},
             {{"name", "dense"},
              {"ngpus", "8"},
              {"TP", "2"},
              {"PP", "2"},
              {"EP", "1"},
              {"CP", "1"},
              {"DP", "2"},
              {"sub_seq_length", "2048"},
              {"micro_batch_size", "2"},
              {"num_of_micro_batches", "16"},
              {"pipeline_parallelism_bubble_rate", "0.0625"},
              {"data_parallel_sharding_strategy", "OPTIMIZER_STATES"},
              {"token_imbalance_hypothesis", "1"}},
             {{"total_memory_gb", (397'996'032 + 873'594'880 + 33'554'432 + 32'770'048 + 1'073'741'824.0) / 1e9},
              {"model_and_optimizer_states_memory_gb", 0.397996032},
              {"activations_memory_gb", 0.87359488},
              {"cross_entropy_activation_memory_gb", 0.65536},
              {"practice_activations_memory_gb", 0.87359488},
              {"expert_parameters_m", 0},
              {"non_expert_parameters_m", 33.166336},
              {"expert_layers_activations_gb", 0},
              {"practice_expert_layers_activations_gb", 0},
              {"non_expert_layers_activations_gb", 0.87359488},
              {"mlp_activation_mb", 58.720256},
              {"moe_activation_mb", 0}});
}

// 2 layers of 512, 8 heads of 64, 2 of them for keys and values; 4 experts of 1024, two for each token; the busiest
// device gets 1.5 times the mean. TP 2, EP 2. Of each layer a device holds 327,680 parameters of attention, 2,048 of
// the router, 1,024 of norms, and of 2 experts 2 x 3 x 512 x 512 = 1,572,864; beside them 256,000 of the embedding and
// 256,512 of the head: 1,174,016 at 12 bytes (2 ranks share them), 3,145,728 of experts at 18 (1 rank): 70,711,296.
// 1,024 tokens. A layer keeps 2 x 1024 x (2 x 512 + (512 + 128 + 128 + 512) / 2) + 4 x 8 x 1024 / 2 = 3,424,256 for
// attention and 1,048,576 for the norm behind it; both layers and the head's inputs, 2,097,152: 11,042,816. Experts:
// the router's 1024 x (2 x 512 + 8 x 4) = 1,081,344; for 3 x 1024 tokens, inputs and outputs 2,097,152 (half of it
// where TP cuts them) and the hidden layer 3,145,728: 13,664,256, and 16,809,984 in practice. Logits 10 x 1024 x 500 =
// 5,120,000. Backward: 2,097,152 of gradients of a layer, 3 x (3,145,728 + 1,048,576) within its experts, less the
// logits. Buffers: 2,097,152 for TP and as many for EP; 2 x 256,512 of the head's gradient.
TEST(Csv, OfAModelWithExpertsIsWhatOneWorksOutByHand) {
  Model model = llama(2, 512, 8, 2, 1024, 1000);
  model.name = "experts";
  model.global_batch_size = 16;
  model.seq_length = 1024;
  model.moe = {
      .num_experts = 4, .k = 2, .expert_frequency = 1, .token_imbalance_hypothesis = 1.5, .ffn_hidden_size = 1024};
  expect_row({model, {}, {}, {}}, {.tensor = 2, .expert = 2, .devices = 4, .sharding = Sharding::optimizer_states},
             {{"name", "experts"},
              {"ngpus", "4"},
              {"TP", "2"},
              {"PP", "1"},
              {"EP", "2"},
              {"CP", "1"},
              {"DP", "2"},
              {"sub_seq_length", "1024"},
              {"micro_batch_size", "1"},
              {"num_of_micro_batches", "8"},
              {"pipeline_parallelism_bubble_rate", "0"},
              {"data_parallel_sharding_strategy", "OPTIMIZER_STATES"},
              {"token_imbalance_hypothesis", "1.5"}},
             {{"total_memory_gb", (70'711'296 + 49'782'784 + 9'560'064 + 4'194'304 + 513'024 + 1'073'741'824.0) / 1e9},
              {"model_and_optimizer_states_memory_gb", 0.070711296},
              {"activations_memory_gb", (27'328'512 + 11'042'816 + 5'120'000) / 1e9},
              {"cross_entropy_activation_memory_gb", 0.00512},
              {"practice_activations_memory_gb", (33'619'968 + 11'042'816 + 5'120'000) / 1e9},
              {"expert_parameters_m", 3.145728},
              {"non_expert_parameters_m", 1.174016},
              {"expert_layers_activations_gb", 0.027328512},
              {"practice_expert_layers_activations_gb", 0.033619968},
              {"non_expert_layers_activations_gb", (11'042'816 + 5'120'000) / 1e9},
              {"mlp_activation_mb", 2 * 1024 * (512 + 3 * 1024 / 2) / 1e6},
              {"moe_activation_mb", 16.809984}});
}

// All 132,654,080 parameters on each device, shared out over 2 ranks: 16/2 bytes. 512 tokens of a micro-batch. Layers
// are computed again: each keeps its input, 1,048,576; with the head's inputs, 2,097,152: 6,291,456. Logits 10 x 512 x
// 32,000 = 163,840,000, more than backward needs later. Buffers: keys and values that come, 2 x 2 x 512 x 2048 =
// 4,194,304; two gathered units and two units of gradients, 12 bytes for each of the 32,769,024 parameters of the head.
TEST(Csv, OfContextParallelismIsWhatOneWorksOutByHand) {
  expect_row({small_dense(), {}, {}, {}},
             {.context = 4, .devices = 8, .recompute = Recompute::full, .sharding = Sharding::fully_shard},
             {{"name", "dense"},
              {"ngpus", "8"},
              {"TP", "1"},
              {"PP", "1"},
              {"EP", "1"},
              {"CP", "4"},
              {"DP", "2"},
              {"sub_seq_length", "512"},
              {"micro_batch_size", "1"},
              {"num_of_micro_batches", "32"},
              {"pipeline_parallelism_bubble_rate", "0"},
              {"data_parallel_sharding_strategy", "FULLY_SHARD"},
              {"token_imbalance_hypothesis", "1"}},
             {{"total_memory_gb", (1'061'232'640 + 170'131'456 + 397'422'592 + 1'073'741'824.0) / 1e9},
              {"model_and_optimizer_states_memory_gb", 1.06123264},
              {"activations_memory_gb", 0.170131456},
              {"cross_entropy_activation_memory_gb", 0.16384},
              {"practice_activations_memory_gb", 0.170131456},
              {"expert_parameters_m", 0},
              {"non_expert_parameters_m", 132.65408},
              {"expert_layers_activations_gb", 0},
              {"practice_expert_layers_activations_gb", 0},
              {"non_expert_layers_activations_gb", 0.170131456},
              {"mlp_activation_mb", 13.631488},
              {"moe_activation_mb", 0}});
}

TEST(Csv, QuotesNames) {
  Settings settings{small_dense(), {}, {}, {}};
  settings.model.name = "a,\"b\"";
  const Memory memory = estimate(settings.model, settings.trainer, {});
  std::string csv;
  append_csv_row(settings, {{}, memory.worst_stage(), 0, 0, 0}, csv);
  EXPECT_TRUE(csv.starts_with("\"a,\"\"b\"\"\",1,")) << csv;
}

TEST(Report, HoldsTheMemoryOfEachStage) {
  Settings settings{small_dense(), {}, {}, Device{"half a gigabyte", 500'000'000}};
  const Layout layout{.pipeline = 2, .devices = 2};
  const Memory memory = estimate(settings.model, settings.trainer, layout);
  Found found;
  found.top = {{layout, memory.worst_stage(), memory.loss, memory.mlp, memory.moe}};
  const Json json = to_json(settings, found);
  const Json& first = json["top"][0];
  ASSERT_EQ(first["stages"].size(), 2U);
  for (std::size_t stage = 0; stage < 2; ++stage)
    EXPECT_DOUBLE_EQ(first["stages"][stage]["total_bytes"].get<double>(), memory.stages[stage].total());
  EXPECT_EQ(first["layout"]["layers"], Json::array({2, 2}));
  EXPECT_EQ(first["verdict"], "does not fit");
  EXPECT_THAT(first["would_fit_with"].get<std::string>(), HasSubstr("times the memory"));
  EXPECT_THAT(describe(settings, found, RankBy::memory), HasSubstr("No layout fits half a gigabyte"));
}

}  // namespace
}  // namespace lshdp::explore::test
