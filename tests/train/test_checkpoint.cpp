// Tests of checkpoints on one rank: round trip, completeness, what is kept, damage.
#include <filesystem>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/train/checkpoint.h"
#include "parallel/models.h"
#include "support/temporary_directory.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

class Checkpoint : public testing::Test {
 protected:
  std::unique_ptr<parallel::ParameterStore> store(std::uint64_t seed, parallel::Mode mode = parallel::Mode::ddp,
                                                  bool offload = false) {
    auto result = parallel::make_store(
        model_, *communicator_,
        {.mode = mode, .precision = parallel::Precision::fp64, .bucket_bytes = 0, .offload = offload});
    result->set_values(model::initial_values(model_, seed));
    return result;
  }
  /// In fp16 step 3 overflows.
  void train(parallel::ParameterStore& store, int from, int to,
             parallel::Precision precision = parallel::Precision::fp64) {
    parallel::BlockWalker walker(model_, store, {.precision = precision});
    for (int step = from; step <= to; ++step) {
      const model::SyntheticBatch batch = model::synthetic_batch(model_.input, 4, static_cast<std::uint64_t>(step));
      if (precision == parallel::Precision::fp16 && step == 3) batch.input.fill_(1e6);  // no number of fp16
      walker.begin_step({.step = step, .learning_rate = 0.01, .global_terms = 4}, 1, batch.input);
      walker.train_micro_batch(batch.input, batch.target, true);
    }
    store.synchronize();
  }
  CheckpointInfo info(std::int64_t step) const { return {step, 4, 7, "fp64", model_.description}; }
  void write(parallel::ParameterStore& store, std::int64_t step, int keep = 10) {
    write_checkpoint(*communicator_, folder_.path(), store, info(step), keep);
  }
  fs::path step_folder(int step) const { return folder_.path() / "checkpoints" / ("step-" + std::to_string(step)); }

  /// Continues `store` from the newest checkpoint.
  void load_newest(parallel::ParameterStore& store) {
    load_checkpoint(*communicator_, find_checkpoint(folder_.path()), model_, store);
  }
  void expect_refused(int step, const std::string& message) {
    const auto target = store(1);
    try {
      load_checkpoint(*communicator_, step_folder(step), model_, *target);
      FAIL() << "accepted";
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.exit_code(), 2);
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }
  /// To the bit where both are of one mode.
  void expect_same_values(parallel::ParameterStore& one, parallel::ParameterStore& other, bool to_the_bit) {
    const model::Values a = one.gather_values(), b = other.gather_values();
    for (std::size_t block = 0; block < a.size(); ++block) {
      for (std::size_t i = 0; i < a[block].size(); ++i) {
        EXPECT_TRUE(to_the_bit ? at::equal(a[block][i], b[block][i])
                               : at::allclose(a[block][i], b[block][i], 1e-12, 1e-13));
      }
    }
  }

  const model::Model model_ = test::small_mlp();
  const std::unique_ptr<comm::Communicator> communicator_ = comm::make_null_communicator(0, 1);
  const test::TemporaryDirectory folder_;
};

TEST_F(Checkpoint, ContinuesInAnotherMode) {
  const auto through = store(1);
  train(*through, 1, 9);
  const auto first = store(1);
  train(*first, 1, 3);
  write(*first, 3);
  const auto second = store(98, parallel::Mode::fsdp, true);
  load_newest(*second);
  train(*second, 4, 6);
  write(*second, 6);
  const auto third = store(99, parallel::Mode::lsdp);
  load_newest(*third);
  train(*third, 7, 9);
  expect_same_values(*through, *third, false);
}

TEST_F(Checkpoint, ContinuesAsIfNothingHadHappened) {
  const auto through = store(1);
  train(*through, 1, 6);
  const auto first = store(1);
  train(*first, 1, 3);
  write(*first, 3);
  const auto second = store(99);
  load_newest(*second);
  train(*second, 4, 6);
  expect_same_values(*through, *second, true);
}

TEST_F(Checkpoint, GoesOnWithTheLossScaleOfFp16) {
  const auto fp16 = [&](double scale) {
    auto result = parallel::make_store(
        model_, *communicator_,
        {.precision = parallel::Precision::fp16, .loss_scaling = {.initial = scale, .growth_interval = 2}});
    result->set_values(model::initial_values(model_, 1));
    return result;
  };
  CheckpointInfo written = info(4);
  written.precision = "fp16";
  const auto through = fp16(256), first = fp16(256), second = fp16(1);
  train(*through, 1, 9, parallel::Precision::fp16);
  train(*first, 1, 4, parallel::Precision::fp16);
  write_checkpoint(*communicator_, folder_.path(), *first, written, 1);
  EXPECT_EQ(read_json(step_folder(4) / "manifest.json")["loss_scale"],
            Json({{"scale", 256.0}, {"good_steps", 1}, {"skipped_steps", 1}}));
  load_checkpoint(*communicator_, step_folder(4), model_, *second);
  train(*second, 5, 9, parallel::Precision::fp16);
  const auto a = through->owned_state(), b = second->owned_state();
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(at::equal(a[i].value, b[i].value));
    EXPECT_TRUE(at::equal(a[i].second_moment, b[i].second_moment));
  }
  EXPECT_EQ(through->loss_scale().scale, second->loss_scale().scale);
  EXPECT_EQ(second->loss_scale().skipped_steps, 1);
  EXPECT_EQ(second->loss_scale().good_steps, through->loss_scale().good_steps);
}

TEST_F(Checkpoint, WithoutALossScaleIsNoneOfFp16) {
  write(*store(1), 1);
  EXPECT_FALSE(read_json(step_folder(1) / "manifest.json").contains("loss_scale"));
  Json manifest = read_json(step_folder(1) / "manifest.json");
  manifest["precision"] = "fp16";
  write_json(step_folder(1) / "manifest.json", manifest);
  expect_refused(1, "loss_scale");
}

TEST_F(Checkpoint, TellsWhatItIsOf) {
  write(*store(1), 12);
  const CheckpointInfo read = read_checkpoint_info(step_folder(12));
  EXPECT_EQ(read.step, 12);
  EXPECT_EQ(read.total, 4);
  EXPECT_EQ(read.seed, 7U);
  EXPECT_EQ(read.precision, "fp64");
  EXPECT_EQ(read.model, model_.description);
}

TEST_F(Checkpoint, KeepsTheNewestAndNeverCountsAHalfWrittenOne) {
  const auto any = store(1);
  for (int step = 1; step <= 4; ++step) write(*any, step, 2);
  EXPECT_FALSE(fs::exists(step_folder(2)));
  EXPECT_TRUE(fs::exists(step_folder(3)));
  fs::create_directories(step_folder(9));  // its manifest was not written any more
  write_file(step_folder(9) / "rank-0.h5", "half");
  EXPECT_EQ(find_checkpoint(folder_.path()), step_folder(4));
}

TEST_F(Checkpoint, RefusesWhatIsNotThere) {
  EXPECT_THROW(find_checkpoint(folder_.path()), UsageError);
  write(*store(1), 1);
  fs::remove(step_folder(1) / "rank-0.h5");
  EXPECT_THROW(read_checkpoint_info(step_folder(1)), UsageError);
}

TEST_F(Checkpoint, RefusesADamagedFile) {
  write(*store(1), 1);
  const std::string content = read_file(step_folder(1) / "rank-0.h5");
  write_file(step_folder(1) / "rank-0.h5", content.substr(0, content.size() / 2));
  expect_refused(1, "step-1");
}

TEST_F(Checkpoint, RefusesAnotherVersion) {
  write(*store(1), 1);
  std::string manifest = read_file(step_folder(1) / "manifest.json");
  manifest.replace(manifest.find("\"version\": 1"), 12, "\"version\": 2");
  write_file(step_folder(1) / "manifest.json", manifest);
  EXPECT_THROW(read_checkpoint_info(step_folder(1)), UsageError);
}

}  // namespace
}  // namespace lshdp::train
