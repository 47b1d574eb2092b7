// The loader: order, end, errors and restarts; and what augmentation and preparation make of an image.
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "lshdp/data/loader.h"
#include "lshdp/data/sampler.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using lshdp::test::TemporaryDirectory;
using testing::ElementsAre;
using testing::HasSubstr;
using Numbers = std::vector<std::int64_t>;

DatasetInfo plain_info(std::int64_t channels) {
  DatasetInfo info;
  info.mean.assign(static_cast<std::size_t>(channels), 0.0);
  info.deviation.assign(static_cast<std::size_t>(channels), 1.0 / 255);  // so that prepared values are pixels again
  return info;
}

at::Tensor image(std::vector<std::uint8_t> pixels, std::int64_t height, std::int64_t width) {
  return at::tensor(pixels, at::kByte).view({1, 1, height, width});
}

std::vector<float> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

TEST(PrepareImages, ScalesAndNormalisesEachChannel) {
  DatasetInfo info;
  info.mean = {0.5, 0.2};
  info.deviation = {0.25, 0.1};
  const at::Tensor pixels = at::tensor(std::vector<std::uint8_t>{0, 255, 51, 255}, at::kByte).view({1, 2, 1, 2});
  const at::Tensor result = prepare_images(pixels, Numbers{0}, 0, {}, info);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_THAT(values(result), testing::Pointwise(testing::FloatNear(1e-6F), {-2.0F, 2.0F, 0.0F, 8.0F}));
}

TEST(PrepareImages, ShrinksWithAntialiasing) {
  // Halving 4 pixels: each output is a triangle of width 2 around its centre: weights 3/8 3/8 1/8 (inside) and their
  // mirror image, normalised over the pixels that exist: (3 a + 3 b + c) / 7.
  const at::Tensor result =
      prepare_images(image({0, 70, 140, 210, 0, 70, 140, 210, 0, 70, 140, 210, 0, 70, 140, 210}, 4, 4), Numbers{0}, 0,
                     {2, {}}, plain_info(1));
  const float left = (3 * 0 + 3 * 70 + 140) / 7.0F, right = (70 + 3 * 140 + 3 * 210) / 7.0F;
  EXPECT_THAT(values(result), testing::Pointwise(testing::FloatNear(1e-3F), {left, right, left, right}));
}

TEST(PrepareImages, EnlargesBilinearlyAndLeavesEqualSizesAlone) {
  // Doubling: output centres lie a quarter pixel beside the input's; outside the edge pixel counts.
  const at::Tensor up = prepare_images(image({0, 100, 0, 100}, 2, 2), Numbers{0}, 0, {4, {}}, plain_info(1));
  EXPECT_THAT(values(up.select(2, 1)), testing::Pointwise(testing::FloatNear(1e-3F), {0.0F, 25.0F, 75.0F, 100.0F}));
  const at::Tensor same = prepare_images(image({1, 2, 3, 4}, 2, 2), Numbers{0}, 0, {2, {}}, plain_info(1));
  EXPECT_THAT(values(same), testing::Pointwise(testing::FloatNear(1e-4F), {1.0F, 2.0F, 3.0F, 4.0F}));
}

TEST(PrepareImages, MakesSquaresOfOtherShapes) {
  const at::Tensor result =
      prepare_images(at::zeros({3, 1, 6, 2}, at::kByte), Numbers{0, 1, 2}, 0, {4, {}}, plain_info(1));
  EXPECT_THAT(result.sizes(), ElementsAre(3, 1, 4, 4));
}

TEST(PrepareImages, CropsWithZeroPaddingAndFlips) {
  // Every result is the image shifted by at most 1 in each direction, zeros outside, mirrored or not; all 18 cases
  // occur.
  const std::vector<float> original{1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::set<std::vector<float>> expected, seen;
  for (int down = -1; down <= 1; ++down) {
    for (int right = -1; right <= 1; ++right) {
      for (const bool flip : {false, true}) {
        std::vector<float> crop;
        for (int y = 0; y < 3; ++y) {
          for (int x = 0; x < 3; ++x) {
            const int from_y = y + down, from_x = (flip ? 2 - x : x) + right;
            const bool inside = from_y >= 0 && from_y < 3 && from_x >= 0 && from_x < 3;
            crop.push_back(inside ? original[static_cast<std::size_t>(from_y * 3 + from_x)] : 0.0F);
          }
        }
        expected.insert(crop);
      }
    }
  }
  const Preparation preparation{0, {1, true, 5}};
  for (std::int64_t sample = 0; sample < 400; ++sample) {
    std::vector<float> result = values(
        prepare_images(image({1, 2, 3, 4, 5, 6, 7, 8, 9}, 3, 3), Numbers{sample}, 0, preparation, plain_info(1)));
    for (float& value : result) value = std::round(value);
    seen.insert(result);
  }
  EXPECT_EQ(seen, expected);
}

TEST(PrepareImages, AugmentationDependsOnSeedEpochAndSampleAlone) {
  const at::Tensor images = at::arange(6 * 2 * 5 * 5, at::kInt).remainder(251).to(at::kByte).view({6, 2, 5, 5});
  const Preparation preparation{0, {2, true, 11}};
  const Numbers samples{31, 4, 100, 7, 8, 9};
  const at::Tensor together = prepare_images(images, samples, 3, preparation, plain_info(2));
  for (std::int64_t i = 0; i < 6; ++i) {
    const at::Tensor alone = prepare_images(images.slice(0, i, i + 1), Numbers{samples[static_cast<std::size_t>(i)]}, 3,
                                            preparation, plain_info(2));
    EXPECT_TRUE(alone.equal(together.slice(0, i, i + 1)));
  }
  EXPECT_FALSE(prepare_images(images, samples, 4, preparation, plain_info(2)).equal(together));
  EXPECT_FALSE(prepare_images(images, samples, 3, {0, {2, true, 12}}, plain_info(2)).equal(together));
  EXPECT_TRUE(prepare_images(images, samples, 3, preparation, plain_info(2)).equal(together));
}

TEST(PrepareImages, TreatsChannelsOfAnImageAlike) {
  const at::Tensor grey = at::arange(25, at::kByte).view({1, 1, 5, 5}).expand({1, 3, 5, 5});
  const at::Tensor result = prepare_images(grey, Numbers{3}, 0, {0, {2, true, 1}}, plain_info(3));
  EXPECT_TRUE(result.select(1, 0).equal(result.select(1, 1)));
  EXPECT_TRUE(result.select(1, 0).equal(result.select(1, 2)));
}

TEST(PrepareImages, KeepsTheShapeOfNoImages) {
  const at::Tensor result = prepare_images(at::empty({0, 3, 8, 8}, at::kByte), {}, 0, {4, {1, true, 0}}, plain_info(3));
  EXPECT_THAT(result.sizes(), ElementsAre(0, 3, 4, 4));
}

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    test::write_images(folder_ / "d.h5", 12);
    dataset_ = open_dataset(folder_ / "d.h5", 0);
  }

  /// Batch k holds samples 2k and 2k + 1, for `batches` batches.
  static auto pairs(std::int64_t batches) {
    return [batches](std::int64_t k) -> std::optional<Request> {
      if (k >= batches) return std::nullopt;
      return Request{{2 * k, 2 * k + 1}, 0};
    };
  }
  static Numbers targets(const Batch& batch) {
    return {batch.target.const_data_ptr<std::int64_t>(),
            batch.target.const_data_ptr<std::int64_t>() + batch.target.numel()};
  }

  TemporaryDirectory folder_;
  std::unique_ptr<Dataset> dataset_;
};

TEST_F(LoaderTest, GivesPreparedBatchesInOrderAndThenNone) {
  PrefetchingLoader loader(*dataset_, {6, {}}, pairs(3));
  for (const Numbers& expected : {Numbers{0, 1}, Numbers{2, 0}, Numbers{1, 2}}) {
    const auto batch = loader.next();
    ASSERT_TRUE(batch);
    EXPECT_EQ(targets(*batch), expected);
    EXPECT_THAT(batch->input.sizes(), ElementsAre(2, 2, 6, 6));
    EXPECT_EQ(batch->input.scalar_type(), at::kFloat);
  }
  EXPECT_FALSE(loader.next());
  EXPECT_FALSE(loader.next());
}

TEST_F(LoaderTest, GivesABatchOfNoSamplesForAnEmptyRequest) {
  PrefetchingLoader loader(*dataset_, {}, [](std::int64_t) { return Request{}; });
  const auto batch = loader.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->samples(), 0);
  EXPECT_THAT(batch->input.sizes(), ElementsAre(0, 2, 3, 4));
}

TEST_F(LoaderTest, PassesTokensThrough) {
  test::write_tokens(folder_ / "t.h5", 9, 20);
  const auto tokens = open_dataset(folder_ / "t.h5", 4);
  PrefetchingLoader loader(*tokens, {}, pairs(1));
  const auto batch = loader.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->input.scalar_type(), at::kLong);
  EXPECT_EQ(targets(*batch), (Numbers{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(LoaderTest, ThrowsTheErrorAfterTheBatchesBeforeIt) {
  PrefetchingLoader loader(*dataset_, {}, [](std::int64_t k) { return Request{{k == 2 ? 99 : k}, 0}; });
  EXPECT_EQ(targets(*loader.next()), Numbers{0});
  EXPECT_EQ(targets(*loader.next()), Numbers{1});
  EXPECT_THAT(test::usage_error([&] { loader.next(); }), HasSubstr("no sample 99"));
  EXPECT_THROW(loader.next(), UsageError);
  loader.restart(5);
  EXPECT_EQ(targets(*loader.next()), Numbers{2});
}

TEST_F(LoaderTest, ThrowsWhatTheRequestThrows) {
  PrefetchingLoader loader(*dataset_, {}, [](std::int64_t) -> std::optional<Request> { throw RunError("no more"); });
  EXPECT_THROW(loader.next(), RunError);
}

TEST_F(LoaderTest, ReadsNoFurtherAheadThanAsked) {
  std::atomic<std::int64_t> asked = -1;
  PrefetchingLoader loader(
      *dataset_, {},
      [&](std::int64_t k) {
        asked = k;
        return Request{{k % 12}, 0};
      },
      nullptr, 3);
  const auto settle = [&](std::int64_t expected) {
    while (asked < expected) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(asked, expected);
  };
  settle(2);
  loader.next();
  settle(3);
}

TEST_F(LoaderTest, RestartsFromABatchAfterAChangeOfTheSplit) {
  HeterogeneousDistributedSampler sampler(12, {2, 2}, 0);
  PrefetchingLoader loader(*dataset_, {}, [&](std::int64_t k) { return Request{sampler.samples_of(k, 0), 0}; });
  EXPECT_EQ(loader.next()->samples(), 2);
  for (std::int64_t round = 0; round < 50; ++round) {
    const std::int64_t own = round % 4 + 1;
    loader.restart(round, [&] { sampler.set_batches({own, 4 - own}); });
    EXPECT_EQ(loader.next()->samples(), own);
    EXPECT_EQ(loader.next()->samples(), own);
  }
}

TEST_F(LoaderTest, RestartsAfterTheEndAndSurvivesAChangeThatThrows) {
  PrefetchingLoader loader(*dataset_, {}, pairs(1));
  EXPECT_TRUE(loader.next());
  EXPECT_FALSE(loader.next());
  EXPECT_THROW(loader.restart(0, [] { throw UsageError("no"); }), UsageError);
  EXPECT_FALSE(loader.next());
  loader.restart(0);
  EXPECT_TRUE(loader.next());
}

TEST_F(LoaderTest, EndsWhileBatchesAreUnread) {
  for (int i = 0; i < 20; ++i) PrefetchingLoader(*dataset_, {}, pairs(5));
}

TEST_F(LoaderTest, LeavesTheNumberOfThreadsAlone) {
  at::set_num_threads(3);
  PrefetchingLoader loader(*dataset_, {}, pairs(5));
  loader.next();
  EXPECT_EQ(at::get_num_threads(), 3);
  int elsewhere = 0;
  std::thread([&] { elsewhere = at::get_num_threads(); }).join();
  EXPECT_EQ(elsewhere, 3);
  int inside = 0;
  PrefetchingLoader other(*dataset_, {}, [&](std::int64_t) -> std::optional<Request> {
    inside = at::get_num_threads();
    return std::nullopt;
  });
  other.next();
  EXPECT_EQ(inside, 1);
}

TEST_F(LoaderTest, RefusesToReadNothingAhead) {
  EXPECT_THROW(PrefetchingLoader(*dataset_, {}, pairs(1), nullptr, 0), UsageError);
}

}  // namespace
}  // namespace lshdp::data
