// Tests of sampling: greedy choice, determinism, limits.
#include <gtest/gtest.h>

#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/train/generate.h"
#include "parallel/models.h"

namespace lshdp::train {
namespace {

class Generation : public testing::Test {
 protected:
  std::vector<std::int64_t> sample(const std::vector<std::int64_t>& prompt, const GenerateOptions& options) {
    std::vector<std::int64_t> tokens;
    WholeDecoder decoder(model_, walker_);
    const GenerateTimes times =
        generate(decoder, prompt, options, [&](std::int64_t token) { tokens.push_back(token); });
    EXPECT_EQ(times.prompt_tokens, std::ssize(prompt));
    EXPECT_EQ(times.tokens, std::ssize(tokens));
    return tokens;
  }
  void SetUp() override { store_->set_values(model::initial_values(model_, 3)); }

  const model::Model model_ = test::small_gpt();
  const std::unique_ptr<comm::Communicator> communicator_ = comm::make_null_communicator(0, 1);
  const std::unique_ptr<parallel::ParameterStore> store_ = parallel::make_store(model_, *communicator_, {});
  parallel::BlockWalker walker_{model_, *store_, {}};
};

TEST_F(Generation, RunsBeyondTheContext) {
  const auto tokens = sample({1, 2, 3}, {.length = 20, .seed = 1});
  EXPECT_EQ(tokens.size(), 20U);
  for (const std::int64_t token : tokens) EXPECT_TRUE(token >= 0 && token < 23);
}

TEST_F(Generation, RepeatsItselfWithTheSameSeedOnly) {
  EXPECT_EQ(sample({1}, {.length = 30, .seed = 5}), sample({1}, {.length = 30, .seed = 5}));
  EXPECT_NE(sample({1}, {.length = 30, .seed = 5}), sample({1}, {.length = 30, .seed = 6}));
}

TEST_F(Generation, TakesTheLikeliestAtTemperatureZeroAndAmongOne) {
  EXPECT_EQ(sample({4, 5}, {.length = 10, .temperature = 0, .seed = 1}),
            sample({4, 5}, {.length = 10, .top_k = 1, .seed = 2}));
}

/// What each token costs without a cache: the whole sequence again.
TEST_F(Generation, DrawsWhatTheWholeSequenceRunAgainWouldGive) {
  std::vector<std::int64_t> sequence{4, 5, 11};
  for (const std::int64_t token : sample(sequence, {.length = 15, .temperature = 0})) {
    const auto seen = std::min<std::size_t>(sequence.size(), 8);
    const at::ArrayRef<std::int64_t> last(sequence.data() + sequence.size() - seen, seen);
    const at::Tensor input = at::tensor(last, at::kLong).unsqueeze(0);
    EXPECT_EQ(walker_.forward(input).select(0, 0).select(0, -1).argmax().item<std::int64_t>(), token);
    sequence.push_back(token);
  }
}

TEST_F(Generation, LogitsDoNotDependOnHowASequenceIsFed) {
  const at::Tensor tokens = at::tensor({3, 9, 1, 1, 20, 7, 22, 0}, at::kLong).unsqueeze(0);
  const at::Tensor expected = walker_.forward(tokens).select(1, 7);
  for (const std::vector<std::int64_t>& pieces :
       std::vector<std::vector<std::int64_t>>{{8}, {1, 1, 1, 1, 1, 1, 1, 1}, {3, 4, 1}, {1, 5, 2}, {7, 1}}) {
    WholeDecoder decoder(model_, walker_);
    at::Tensor logits;
    std::int64_t at = 0;
    for (const std::int64_t piece : pieces) {
      logits = decoder.next(tokens.narrow(1, at, piece));
      at += piece;
    }
    EXPECT_EQ(logits.sizes(), (at::IntArrayRef{1, 1, 23}));
    // The same sums in another order: rounding of fp32.
    EXPECT_LT((logits.select(1, 0) - expected).abs().max().item<double>(), 1e-6);
  }
}

TEST_F(Generation, TakesNoMoreThanTheContext) {
  WholeDecoder decoder(model_, walker_);
  decoder.next(at::zeros({1, 8}, at::kLong));
  EXPECT_THROW(decoder.next(at::zeros({1, 1}, at::kLong)), UsageError);
  decoder.begin();
  decoder.next(at::zeros({1, 8}, at::kLong));
}

TEST_F(Generation, IsOfModelsThatReadTokens) {
  const model::Model vit = test::small_vit();
  const auto store = parallel::make_store(vit, *communicator_, {});
  parallel::BlockWalker walker(vit, *store, {});
  WholeDecoder decoder(vit, walker);
  EXPECT_THROW(generate(decoder, {1}, {}, [](std::int64_t) {}), UsageError);
  EXPECT_THROW(decoder.next(at::zeros({1, 1}, at::kLong)), std::logic_error);
}

TEST_F(Generation, RefusesPromptsItCannotRead) {
  EXPECT_THROW(sample({}, {}), UsageError);
  EXPECT_THROW(sample({23}, {}), UsageError);
}

}  // namespace
}  // namespace lshdp::train
