// Activations against the published formulas and their published figures.
#include <gtest/gtest.h>

#include "lshdp/explore/activations.h"
#include "lshdp/explore/parameters.h"
#include "lshdp/explore/stages.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

/// 16-bit training with dropout and stored scores.
Trainer standard_attention() {
  Trainer trainer;
  trainer.flash_attention = false;
  return trainer;
}

struct Published {
  const char* name;
  std::int64_t layers, hidden, heads, tensor, pipeline, chunks, micro_batch;
  double states, none, sequence_and_selective;  // GiB
};

// ../shared/PLANNER.md, after Korthikanti et al., arXiv 2205.05198, tables 3 and 5.
constexpr Published kTable[] = {
    {"22B", 48, 6144, 64, 8, 1, 1, 4, 45.5625, 59.25, 9.5625},
    {"175B", 96, 12288, 96, 8, 8, 3, 1, 45.5625, 66.84375, 12.35156},
    {"530B", 105, 20480, 128, 8, 35, 3, 1, 31.64063, 114.02344, 23.07617},
    {"1T", 128, 25600, 160, 8, 64, 1, 1, 32.95898, 131.25, 26.5625},
};

Model published_model(const Published& row) {
  Model model = gpt(row.layers, row.hidden, row.heads, 2048, 51200);
  model.hidden_dropout = model.attention_dropout = 0.1;
  model.global_batch_size = 1024;
  return model;
}

/// Of all layers of the first stage, at its worst moment.
double first_stage_gib(const Published& row, bool sequence_parallel, Recompute recompute) {
  const Model model = published_model(row);
  const Layout layout{.tensor = row.tensor,
                      .pipeline = row.pipeline,
                      .interleaving = row.chunks,
                      .sequence_parallel = sequence_parallel,
                      .micro_batch = row.micro_batch,
                      .recompute = recompute};
  const LayerActivations layer = layer_activations(model, standard_attention(), layout);
  const KeptActivations kept = kept_activations(model, standard_attention(), layout, layer);
  double layers = 0;
  const Stage first = cut_into_stages(model, layout).front();
  const InFlight moment = worst_moments(row.pipeline, row.chunks, 1024 / row.micro_batch, 0).front();
  for (std::size_t chunk = 0; chunk < first.size(); ++chunk)
    layers += static_cast<double>(moment[chunk] * first[chunk].layers());
  return layers * (kept.attention + kept.mlp) / kGiB;
}

TEST(Activations, AreThoseOfThePublishedTable) {
  for (const Published& row : kTable) {
    EXPECT_NEAR(first_stage_gib(row, false, Recompute::none), row.none, 5e-6 * row.none) << row.name;
    EXPECT_NEAR(first_stage_gib(row, true, Recompute::selective), row.sequence_and_selective,
                5e-6 * row.sequence_and_selective)
        << row.name;
  }
}

TEST(Activations, ComeWithWeightsAndOptimizerOfThePublishedTable) {
  const double bytes = bytes_per_parameter(Trainer{}, Sharding::no_op, 1).sum();
  for (const Published& row : kTable) {
    const LayerParameters layer = layer_parameters(published_model(row), false, row.tensor, 1);
    const double stage = static_cast<double>((layer.attention + layer.mlp) * row.layers / row.pipeline);
    EXPECT_NEAR(bytes * stage / kGiB, row.states, 5e-6 * row.states) << row.name;
  }
}

// s b h (10 + 24 / t + 5 a s / (h t)), and s b h / t (34 + 5 a s / h) with sequence parallelism.
TEST(Activations, OfALayerFollowThePublishedFormulas) {
  Model model = gpt(24, 4096, 32, 1024, 50304);
  model.hidden_dropout = model.attention_dropout = 0.1;
  const double s = 1024, b = 3, h = 4096, a = 32;
  for (const std::int64_t tensor : {1, 2, 8}) {
    const auto t = static_cast<double>(tensor);
    Layout layout{.tensor = tensor, .micro_batch = 3};
    const auto sum = [&] {
      const LayerActivations layer = layer_activations(model, standard_attention(), layout);
      return layer.attention + layer.mlp_norm + layer.mlp;
    };
    EXPECT_DOUBLE_EQ(sum(), s * b * h * (10 + 24 / t + 5 * a * s / (h * t)));
    layout.sequence_parallel = true;
    EXPECT_DOUBLE_EQ(sum(), s * b * h / t * (34 + 5 * a * s / h));
  }
}

TEST(Activations, WithoutDropoutKeepNoMasks) {
  const Model model = gpt(24, 4096, 32, 1024, 50304);
  const LayerActivations layer = layer_activations(model, standard_attention(), {});
  EXPECT_DOUBLE_EQ(layer.attention_core, 2.0 * 32 * 1024 * 1024);
  EXPECT_DOUBLE_EQ(layer.attention + layer.mlp_norm + layer.mlp, 32.0 * 1024 * 4096 + 2.0 * 32 * 1024 * 1024);
  EXPECT_EQ(embedding_activations(model, {}), 0);
}

TEST(Activations, OfFlashAttentionDoNotGrowWithTheSquareOfTheSequence) {
  Model model = llama(32, 4096, 32, 8, 14336, 128256);
  const double once = layer_activations(model, Trainer{}, {}).attention;
  model.seq_length *= 4;
  EXPECT_DOUBLE_EQ(layer_activations(model, Trainer{}, {}).attention, 4 * once);
}

TEST(Activations, OfGroupedQueriesCountKeysAndValuesOfTheGroups) {
  const Model all = llama(32, 4096, 32, 32, 14336, 128256), grouped = llama(32, 4096, 32, 8, 14336, 128256);
  const double saved =
      layer_activations(all, Trainer{}, {}).attention - layer_activations(grouped, Trainer{}, {}).attention;
  EXPECT_DOUBLE_EQ(saved, 2.0 * 8192 * 2 * (4096 - 1024));
}

TEST(Activations, AreCutByContextParallelism) {
  const Model model = mixtral(32, 4096, 32, 14336, 32000);
  const LayerActivations whole = layer_activations(model, standard_attention(), {}),
                         part = layer_activations(model, standard_attention(), {.context = 4});
  EXPECT_DOUBLE_EQ(4 * part.attention, whole.attention);
  EXPECT_DOUBLE_EQ(4 * part.practice_moe, whole.practice_moe);
  EXPECT_DOUBLE_EQ(4 * loss_activations(model, Trainer{}, {.context = 4}), loss_activations(model, Trainer{}, {}));
}

// One expert for each token, on one device, is a dense MLP with a router and the output that its gradient needs.
TEST(Activations, OfOneExpertAreThoseOfAnMlpAndOfTheRouter) {
  Model model = mixtral(32, 4096, 32, 14336, 32000);
  model.moe.num_experts = model.moe.k = 1;
  const LayerActivations layer = layer_activations(model, Trainer{}, {});
  const double tokens = 8192, h = 4096;
  EXPECT_DOUBLE_EQ(layer.moe, layer.mlp + tokens * (2 * h + 8) + tokens * 2 * h);
}

TEST(Activations, OfExpertsGrowWithTheImbalanceOnlyWhereTheyAreSpread) {
  Model model = mixtral(32, 4096, 32, 14336, 32000);
  const double even = layer_activations(model, Trainer{}, {.expert = 8}).moe;
  model.moe.token_imbalance_hypothesis = 2;
  EXPECT_GT(layer_activations(model, Trainer{}, {.expert = 8}).moe, 1.9 * even);
  EXPECT_DOUBLE_EQ(layer_activations(model, Trainer{}, {}).moe, even);
}

TEST(Activations, InPracticeKeepExpertsInputsAndOutputsWhole) {
  const Model model = mixtral(32, 4096, 32, 14336, 32000);
  const LayerActivations layer = layer_activations(model, Trainer{}, {.tensor = 8});
  EXPECT_DOUBLE_EQ(layer.practice_moe - layer.moe, 2.0 * 2 * 2 * 8192 * 4096 * (1 - 1.0 / 8));
}

TEST(Activations, OfWholeLayersComputedAgainAreTheirInputs) {
  const Model model = mixtral(32, 4096, 32, 14336, 32000);
  const Layout layout{.recompute = Recompute::full};
  const LayerActivations layer = layer_activations(model, Trainer{}, layout);
  const KeptActivations kept = kept_activations(model, Trainer{}, layout, layer);
  EXPECT_DOUBLE_EQ(kept.attention, 2.0 * 8192 * 4096);
  EXPECT_EQ(kept.mlp + kept.moe + kept.practice_moe, 0);
  EXPECT_GE(working_set(model, Trainer{}, layout, layer, true), layer.attention + layer.practice_moe);
}

// arXiv 2407.21783's vocabulary: 10 bytes a logit where the loss is computed in float32.
TEST(Activations, OfTheLossCountLogitsTheirCopyAndTheirGradient) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  Trainer trainer;
  const double logits = 8192.0 * 128256 / 8;
  const Layout layout{.tensor = 8};
  EXPECT_DOUBLE_EQ(loss_activations(model, trainer, layout), 10 * logits);
  trainer.loss_in_float32 = false;
  EXPECT_DOUBLE_EQ(loss_activations(model, trainer, layout), 4 * logits);
  trainer.param_dtype = DataType::float32;
  EXPECT_DOUBLE_EQ(loss_activations(model, trainer, layout), 8 * logits);
}

TEST(Activations, OfLatentAttentionCountCompressedVectors) {
  const double tokens = 8192;
  const double widths = 2 * 7168 + 2 * (1536 + 512) + 64 + 128 * (192 + 192 + 128 + 128);
  EXPECT_DOUBLE_EQ(layer_activations(deepseek_v3(), Trainer{}, {}).attention, tokens * (2 * widths + 4 * 128));
}

}  // namespace
}  // namespace lshdp::explore::test
