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
    generate(walker_, model_, prompt, options, [&](std::int64_t token) { tokens.push_back(token); });
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

TEST_F(Generation, RefusesPromptsItCannotRead) {
  EXPECT_THROW(sample({}, {}), UsageError);
  EXPECT_THROW(sample({23}, {}), UsageError);
}

}  // namespace
}  // namespace lshdp::train
