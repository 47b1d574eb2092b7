// A data set read as one that belongs to a training set: labels by class names, statistics of the training set.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "lshdp/data/matching.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Names = std::vector<std::string>;

class Matching : public testing::Test {
 protected:
  /// A data set with one image of each class, read as one that belongs to `training`.
  std::unique_ptr<Dataset> open(const Names& classes, const TrainedOn& training, std::int64_t channels = 1) {
    const auto count = static_cast<std::int64_t>(classes.size());
    {
      ImageWriter writer(folder_ / "val.h5", {count, channels, 1, 1});
      std::vector<std::int64_t> labels;
      for (std::int64_t i = 0; i < count; ++i) labels.push_back(i);
      writer.add(std::vector<std::uint8_t>(static_cast<std::size_t>(count * channels), 100), labels);
      writer.commit(classes, "",
                    Statistics{std::vector<double>(static_cast<std::size_t>(channels), 0.25),
                               std::vector<double>(static_cast<std::size_t>(channels), 0.75)});
    }
    return matched(open_dataset(folder_ / "val.h5", 0), "val.h5", training);
  }
  std::vector<std::int64_t> labels(const Names& classes, const Names& trained_classes) {
    const auto dataset = open(classes, training(trained_classes));
    std::vector<std::int64_t> samples;
    for (std::int64_t i = 0; i < dataset->size(); ++i) samples.push_back(i);
    const at::Tensor target = dataset->read(samples).target;
    return {target.const_data_ptr<std::int64_t>(), target.const_data_ptr<std::int64_t>() + target.numel()};
  }
  static TrainedOn training(const Names& classes) {
    return {"train.h5", classes, static_cast<std::int64_t>(classes.size()), {0.4}, {0.2}};
  }

  lshdp::test::TemporaryDirectory folder_;
};

TEST_F(Matching, RenumbersClassesByTheirNames) {
  EXPECT_THAT(labels({"bird", "cat", "dog"}, {"bird", "cat", "dog"}), ElementsAre(0, 1, 2));
  EXPECT_THAT(labels({"bird", "dog"}, {"bird", "cat", "dog"}), ElementsAre(0, 2));
  EXPECT_THAT(labels({"dog", "bird", "cat"}, {"bird", "cat", "dog"}), ElementsAre(2, 0, 1));
}

TEST_F(Matching, KeepsLabelsWhereOneSideHasNoNames) {
  EXPECT_THAT(labels({"0", "1"}, {"bird", "cat", "dog"}), ElementsAre(0, 1));
  EXPECT_THAT(labels({"bird", "dog"}, {"0", "1", "2"}), ElementsAre(0, 1));
}

TEST_F(Matching, RenumbersNamesThatAreNumbers) {
  EXPECT_THAT(labels({"0", "1"}, {"0", "1", "2"}), ElementsAre(0, 1));
  EXPECT_THAT(labels({"0", "2"}, {"0", "1", "2"}), ElementsAre(0, 2));
  EXPECT_THAT(labels({"10", "2"}, {"1", "10", "2"}), ElementsAre(1, 2));
  EXPECT_THAT(test::usage_error([&] { open({"0", "11"}, training({"0", "1", "2"})); }), HasSubstr("has a class '11'"));
}

TEST_F(Matching, NormalisesAsTheTrainingSet) {
  const auto dataset = open({"bird", "dog"}, training({"bird", "cat", "dog"}));
  EXPECT_THAT(dataset->info().mean, ElementsAre(0.4));
  EXPECT_THAT(dataset->info().deviation, ElementsAre(0.2));
  EXPECT_THAT(dataset->info().class_names, ElementsAre("bird", "cat", "dog"));
  EXPECT_EQ(dataset->info().classes, 3);
}

TEST_F(Matching, RefusesClassesThatTheTrainingSetDoesNotHave) {
  EXPECT_THAT(test::usage_error([&] {
                open({"bird", "cow"}, training({"bird", "cat", "dog"}));
              }),
              HasSubstr("val.h5 has a class 'cow', which train.h5 does not have; its classes are bird, cat, dog"));
  EXPECT_THAT(test::usage_error([&] {
                open({"0", "1", "2"}, training({"bird", "dog"}));
              }),
              HasSubstr("val.h5 has 3 classes, but train.h5 has 2"));
  EXPECT_THAT(test::usage_error([&] {
                open({"bird", "dog"}, training({"bird", "bird", "dog"}));
              }),
              HasSubstr("train.h5: a class name is there twice"));
}

TEST_F(Matching, RefusesImagesOfOtherChannels) {
  EXPECT_THAT(test::usage_error([&] { open({"bird"}, training({"bird"}), 3); }),
              HasSubstr("val.h5: images have 3 channels, but those of train.h5 have 1"));
}

TEST_F(Matching, TakesWhatARunRecorded) {
  const Json record{{"kind", "images"}, {"class_names", {"bird", "dog"}}, {"mean", {0.4}}, {"deviation", {0.2}}};
  const auto dataset = open({"dog"}, trained_on(record, "run"));
  EXPECT_THAT(dataset->info().class_names, ElementsAre("bird", "dog"));
  EXPECT_THAT(dataset->info().deviation, ElementsAre(0.2));
  EXPECT_THAT(test::usage_error([] { trained_on(Json{{"mean", {0.4}}}, "run.json"); }), HasSubstr("run.json"));
}

TEST_F(Matching, LeavesTokensAlone) {
  test::write_tokens(folder_ / "t.h5", 20, 7);
  const auto dataset = matched(open_dataset(folder_ / "t.h5", 4), "t.h5", training({"bird"}));
  EXPECT_EQ(dataset->info().vocabulary, 7);
  EXPECT_EQ(dataset->size(), 4);
}

}  // namespace
}  // namespace lshdp::data
