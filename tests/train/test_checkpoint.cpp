// Tests of checkpoints on one rank: round trip, completeness, what is kept, damage.
#include <csignal>
#include <filesystem>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "checkpoint.h"
#include "checkpoint_writer.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "parallel/models.h"
#include "support/detached_device.h"
#include "support/guarded_device.h"
#include "support/temporary_directory.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

class Checkpoint : public testing::Test {
 protected:
  std::unique_ptr<parallel::ParameterStore> store(std::uint64_t seed, plan::Mode mode = plan::Mode::ddp,
                                                  bool offload = false) {
    auto result = parallel::make_store(
        model_, *communicator_,
        {.strategy = {.mode = mode, .offload = offload, .precision = plan::Precision::fp64}, .bucket_bytes = 0});
    result->set_values(model::initial_values(model_, seed));
    return result;
  }
  /// In fp16 step 3 overflows.
  void train(parallel::ParameterStore& store, int from, int to, plan::Precision precision = plan::Precision::fp64) {
    parallel::BlockWalker walker(model_, store, {.precision = precision});
    for (int step = from; step <= to; ++step) {
      const model::SyntheticBatch batch = model::synthetic_batch(model_.input, 4, static_cast<std::uint64_t>(step));
      if (precision == plan::Precision::fp16 && step == 3) batch.input.fill_(1e6);  // no number of fp16
      walker.train_step({.step = step, .learning_rate = 0.01, .global_terms = 4}, batch.input, batch.target, {4});
    }
    store.synchronize();
  }
  CheckpointInfo info(std::int64_t step) const {
    return {.step = step,
            .total = 4,
            .seed = 7,
            .strategy = {.precision = plan::Precision::fp64},
            .model = model_.description,
            .training = {{"--lr", 0.01}},
            .data = {{"count", 3}},
            .program = "lshdp 1"};
  }
  void write(parallel::ParameterStore& store, std::int64_t step, int keep = 10) {
    write_checkpoint(*communicator_, store, {folder_.path(), keep}, info(step));
  }
  fs::path step_folder(int step) const { return folder_.path() / "checkpoints" / ("step-" + std::to_string(step)); }

  /// Continues `store` from the newest checkpoint.
  void load_newest(parallel::ParameterStore& store) {
    load_checkpoint(*communicator_, find_checkpoint(folder_.path()), store);
  }
  /// Changes one byte in the middle of a file.
  void flip_byte(const fs::path& path) const {
    std::string content = read_file(path);
    content[content.size() / 2] ^= 1;
    write_file(path, content);
  }
  void cut(const fs::path& path) const { write_file(path, read_file(path).substr(0, fs::file_size(path) / 2)); }
  /// What find_good_checkpoint() says when it is asked for `path`.
  std::string refusal(const fs::path& path, int exit_code = 2) const {
    try {
      return "took " + find_good_checkpoint(*communicator_, path).string();
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.exit_code(), exit_code) << error.what();
      return error.what();
    }
  }
  void expect_refused(int step, const std::string& message) {
    const auto target = store(1);
    try {
      load_checkpoint(*communicator_, step_folder(step), *target);
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
  const auto second = store(98, plan::Mode::fsdp, true);
  load_newest(*second);
  train(*second, 4, 6);
  write(*second, 6);
  const auto third = store(99, plan::Mode::lsdp);
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
        {.strategy = {.precision = plan::Precision::fp16}, .loss_scaling = {.initial = scale, .growth_interval = 2}});
    result->set_values(model::initial_values(model_, 1));
    return result;
  };
  CheckpointInfo written = info(4);
  written.strategy.precision = plan::Precision::fp16;
  const auto through = fp16(256), first = fp16(256), second = fp16(1);
  train(*through, 1, 9, plan::Precision::fp16);
  train(*first, 1, 4, plan::Precision::fp16);
  write_checkpoint(*communicator_, *first, {folder_.path(), 1}, written);
  EXPECT_EQ(read_json(step_folder(4) / "manifest.json")["loss_scale"],
            Json({{"scale", 256.0}, {"good_steps", 1}, {"skipped_steps", 1}}));
  load_checkpoint(*communicator_, step_folder(4), *second);
  train(*second, 5, 9, plan::Precision::fp16);
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
  expect_refused(1, "is not what was written");
}

TEST_F(Checkpoint, TellsWhatItIsOf) {
  write(*store(1), 12);
  const CheckpointInfo read = read_checkpoint_info(step_folder(12));
  EXPECT_EQ(read.step, 12);
  EXPECT_EQ(read.total, 4);
  EXPECT_EQ(read.seed, 7U);
  EXPECT_EQ(read.strategy.precision, plan::Precision::fp64);
  EXPECT_EQ(read.model, model_.description);
  EXPECT_EQ(read.training, Json({{"--lr", 0.01}}));
  EXPECT_EQ(read.data, Json({{"count", 3}}));
  EXPECT_EQ(read.program, "lshdp 1");
}

TEST_F(Checkpoint, KeepsTheNewestAndNeverCountsAHalfWrittenOne) {
  const auto any = store(1);
  for (int step = 1; step <= 4; ++step) write(*any, step, 2);
  EXPECT_FALSE(fs::exists(step_folder(2)));
  EXPECT_TRUE(fs::exists(step_folder(3)));
  fs::create_directories(step_folder(9));  // its manifest was not written any more
  write_file(step_folder(9) / "rank-0.h5", "half");
  EXPECT_EQ(find_checkpoint(folder_.path()), step_folder(4));
  write(*any, 5, 2);
  EXPECT_FALSE(fs::exists(step_folder(9)));  // no run will finish it
}

TEST_F(Checkpoint, NeverRemovesTheOneJustWritten) {
  const auto any = store(1);
  write(*any, 20);
  write(*any, 30);
  write(*any, 10, 1);  // by a run that went back
  EXPECT_TRUE(fs::exists(step_folder(10)));
  EXPECT_FALSE(fs::exists(step_folder(20)));
  EXPECT_FALSE(fs::exists(step_folder(30)));
}

TEST_F(Checkpoint, RefusesWhatIsNotThere) {
  EXPECT_THROW(find_checkpoint(folder_.path()), UsageError);
  EXPECT_NE(refusal(folder_ / "none").find("there is no folder"), std::string::npos) << refusal(folder_ / "none");
  write(*store(1), 1);
  fs::remove(step_folder(1) / "rank-0.h5");
  EXPECT_THROW(read_checkpoint_info(step_folder(1)), UsageError);
}

TEST_F(Checkpoint, RefusesADamagedFile) {
  write(*store(1), 1);
  cut(step_folder(1) / "rank-0.h5");
  expect_refused(1, "rank-0.h5: the file is damaged");
}

TEST_F(Checkpoint, TakesTheOneBeforeADamagedOne) {
  const auto any = store(1);
  for (int step = 1; step <= 3; ++step) {
    write(*any, step);
    train(*any, step, step);
  }
  EXPECT_EQ(find_good_checkpoint(*communicator_, folder_.path()), step_folder(3));
  flip_byte(step_folder(3) / "rank-0.h5");
  EXPECT_EQ(find_good_checkpoint(*communicator_, folder_.path()), step_folder(2));
  write_file(step_folder(2) / "manifest.json", "");
  EXPECT_EQ(find_good_checkpoint(*communicator_, folder_.path()), step_folder(1));
  cut(step_folder(1) / "manifest.json");
  const std::string none = refusal(folder_.path());
  EXPECT_NE(none.find("step-3/rank-0.h5 is damaged: it is not what was written"), std::string::npos) << none;
  EXPECT_NE(none.find("none of the 3 checkpoints in " + folder_.path().string() + " can be used: "), std::string::npos)
      << none;
  EXPECT_NE(none.find("step-2/manifest.json is empty; "), std::string::npos) << none;
  EXPECT_NE(none.find("step-1/manifest.json is damaged: it is no whole JSON"), std::string::npos) << none;
  const std::string second = refusal(step_folder(2));
  EXPECT_NE(second.find("none of the 2 checkpoints up to this one in "), std::string::npos) << second;
  EXPECT_EQ(second.find("step-3"), std::string::npos) << second;
  const std::string first = refusal(step_folder(1));
  EXPECT_NE(first.find("it is no whole JSON; there is no checkpoint before it"), std::string::npos) << first;
}

TEST_F(Checkpoint, SaysWhatElseIsWrongWithThoseBeforeADamagedOne) {
  const auto any = store(1);
  write(*any, 1);
  write(*any, 2);
  write(*any, 3);
  cut(step_folder(3) / "rank-0.h5");
  Json manifest = read_json(step_folder(2) / "manifest.json");
  manifest["version"] = 4;
  write_json(step_folder(2) / "manifest.json", manifest);
  EXPECT_EQ(find_good_checkpoint(*communicator_, folder_.path()), step_folder(1));
  cut(step_folder(1) / "rank-0.h5");
  const std::string none = refusal(folder_.path());
  for (const char* fault :
       {"step-3/rank-0.h5 is cut off", "step-2/manifest.json is of version 4", "step-1/rank-0.h5 is"})
    EXPECT_NE(none.find(fault), std::string::npos) << none;
}

TEST_F(Checkpoint, TakesTheOneBeforeOneWhoseFileIsAFolder) {
  const auto any = store(1);
  write(*any, 1);
  write(*any, 2);
  fs::remove(step_folder(2) / "rank-0.h5");
  fs::create_directory(step_folder(2) / "rank-0.h5");
  EXPECT_EQ(find_good_checkpoint(*communicator_, folder_.path()), step_folder(1));
}

TEST_F(Checkpoint, NamesTheGoodOneBeforeADamagedOneThatWasAskedFor) {
  const auto any = store(1);
  write(*any, 1);
  write(*any, 2);
  cut(step_folder(2) / "rank-0.h5");
  const std::string said = refusal(step_folder(2));
  EXPECT_NE(said.find("step-2/rank-0.h5 is cut off: "), std::string::npos) << said;
  EXPECT_NE(said.find(step_folder(1).string() + " is the good one before it"), std::string::npos) << said;
}

TEST_F(Checkpoint, FindsAFlippedByteInTheManifest) {
  write(*store(1), 1);
  std::string manifest = read_file(step_folder(1) / "manifest.json");
  manifest.replace(manifest.find("\"--lr\": 0.01"), 12, "\"--lr\": 0.02");
  write_file(step_folder(1) / "manifest.json", manifest);
  EXPECT_NE(refusal(step_folder(1)).find("manifest.json is damaged: it is not what was written"), std::string::npos);
  EXPECT_THROW(read_checkpoint_info(step_folder(1)), UsageError);
}

TEST_F(Checkpoint, FindsDamageOfTheManifestThatParsesToTheSame) {
  write(*store(1), 1);
  const fs::path path = step_folder(1) / "manifest.json";
  const std::string whole = read_file(path);
  for (const std::string& damaged : {whole + "\n", whole.substr(0, whole.size() - 1), " " + whole}) {
    write_file(path, damaged);
    EXPECT_NE(refusal(step_folder(1)).find("manifest.json is damaged"), std::string::npos);
  }
}

TEST_F(Checkpoint, FindsAFileOfAnotherStep) {
  const auto any = store(1);
  write(*any, 195);
  train(*any, 1, 1);
  write(*any, 200);
  fs::copy_file(step_folder(195) / "rank-0.h5", step_folder(200) / "rank-0.h5", fs::copy_options::overwrite_existing);
  const std::string said = refusal(step_folder(200));
  EXPECT_NE(said.find("is in the wrong place: it is rank-0.h5 of step 195, not rank-0.h5 of step 200"),
            std::string::npos)
      << said;
  expect_refused(200, "is of step 195, its checkpoint of step 200");  // the file itself says so, too
}

TEST_F(Checkpoint, SaysTheCauseWhereAFileCannotBeRead) {
  write(*store(1), 1);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const int next = dup(0);
  close(next);
  const rlimit few{static_cast<rlim_t>(next), before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  const std::string said = refusal(step_folder(1), 1);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_NE(said.find("Too many open files"), std::string::npos) << said;
}

TEST_F(Checkpoint, SaysThatAFileMayNotBeRead) {
  write(*store(1), 1);
  fs::permissions(folder_.path(), fs::perms::all);
  fs::permissions(step_folder(1) / "rank-0.h5", fs::perms::owner_read);
  const uid_t me = geteuid();
  if (me == 0) {
    ASSERT_EQ(seteuid(65534), 0);  // root may read anything
  }
  if (me != 0) fs::permissions(step_folder(1) / "rank-0.h5", fs::perms::none);
  const std::string said = refusal(step_folder(1), 1);
  if (me == 0) {
    ASSERT_EQ(seteuid(me), 0);
  }
  EXPECT_NE(said.find("rank-0.h5: Permission denied"), std::string::npos) << said;
}

TEST_F(Checkpoint, OfAFullDiskIsNoneAndTheProcessLivesOn) {
  const auto any = store(1);
  write(*any, 1);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto whole = static_cast<rlim_t>(fs::file_size(step_folder(1) / "rank-0.h5"));
  // Wherever in HDF5's work the disk becomes full.
  for (rlim_t room = 0; room < whole; room += whole / 40 + 1) {
    const rlimit small{room, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    try {
      write(*any, 2);
      ADD_FAILURE() << "written with room for " << room;
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.exit_code(), 1);
      EXPECT_NE(std::string(error.what()).find("rank-0.h5: File too large"), std::string::npos) << error.what();
    }
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_FALSE(fs::exists(step_folder(2) / "rank-0.h5"));
  }
  EXPECT_EQ(find_good_checkpoint(*communicator_, folder_.path()), step_folder(1));
  write(*any, 2);
  EXPECT_EQ(find_good_checkpoint(*communicator_, folder_.path()), step_folder(2));
}

TEST_F(Checkpoint, HoldsTheValuesOfAStoreOnADevice) {
  const auto plain = store(1);
  auto apart = parallel::make_store(model_, *communicator_,
                                    {.strategy = {.mode = plan::Mode::fsdp, .precision = plan::Precision::fp64},
                                     .bucket_bytes = 0,
                                     .device = std::make_shared<test::DetachedDevice>()});
  apart->set_values(model::initial_values(model_, 98));
  train(*plain, 1, 3);
  write(*plain, 3);
  load_newest(*apart);
  write(*apart, 4);
  const model::Values values = read_checkpoint_values(step_folder(4), model_), expected = plain->gather_values();
  for (std::size_t block = 0; block < values.size(); ++block) {
    for (std::size_t i = 0; i < values[block].size(); ++i) EXPECT_TRUE(at::equal(values[block][i], expected[block][i]));
  }
}

/// A GPU's memory cannot be read or written by the host: whatever part of the way to the file tries ends this test.
TEST_F(Checkpoint, IsWrittenFromAndReadIntoMemoryThatTheHostCannotReach) {
  for (const plan::Mode mode : {plan::Mode::ddp, plan::Mode::fsdp, plan::Mode::lsdp}) {
    const auto device = std::make_shared<test::GuardedDevice>();
    const auto on_device = [&](std::uint64_t seed) {
      auto result = parallel::make_store(
          model_, *communicator_,
          {.strategy = {.mode = mode, .precision = plan::Precision::fp64}, .bucket_bytes = 0, .device = device});
      result->set_values(model::initial_values(model_, seed));
      return result;
    };
    const auto plain = store(1, mode);
    train(*plain, 1, 3);
    write(*plain, 3);
    const auto there = on_device(2), again = on_device(3);
    load_newest(*there);
    write(*there, 4);
    load_newest(*again);
    const model::Values values = again->gather_values(), expected = plain->gather_values();
    for (std::size_t block = 0; block < values.size(); ++block) {
      for (std::size_t i = 0; i < values[block].size(); ++i)
        EXPECT_TRUE(at::equal(values[block][i], expected[block][i])) << plan::to_text(mode) << block;
    }
    fs::remove_all(folder_ / "checkpoints");
  }
}

TEST_F(Checkpoint, SetsAsideWhatCameAfterTheStepToGoOnFrom) {
  const auto any = store(1);
  for (const int step : {10, 20, 30}) write(*any, step);
  write_file(folder_ / "metrics.jsonl", "all\n");
  EXPECT_EQ(abandon_later_checkpoints(folder_.path(), 30), fs::path());
  const fs::path moved = abandon_later_checkpoints(folder_.path(), 10);
  EXPECT_EQ(moved, folder_ / "checkpoints/abandoned-1");
  EXPECT_EQ(find_checkpoint(folder_.path()), step_folder(10));
  EXPECT_EQ(find_good_checkpoint(*communicator_, moved / "step-30"), moved / "step-30");
  EXPECT_EQ(run_of(moved / "step-30"), folder_.path());
  EXPECT_EQ(run_of(step_folder(10)), folder_.path());
  EXPECT_EQ(read_file(moved / "metrics.jsonl"), "all\n");
  write(*any, 40);
  EXPECT_EQ(abandon_later_checkpoints(folder_.path(), 10), folder_ / "checkpoints/abandoned-2");
}

TEST_F(Checkpoint, RefusesAnotherVersion) {
  write(*store(1), 1);
  Json manifest = read_json(step_folder(1) / "manifest.json");
  manifest["version"] = 2;
  write_json(step_folder(1) / "manifest.json", manifest);
  expect_refused(1, "manifest.json is of version 2, whose state is not keyed by the names of parameters");
  manifest["version"] = 4;
  write_json(step_folder(1) / "manifest.json", manifest);
  expect_refused(1, "a later lshdp wrote");
}

}  // namespace
}  // namespace lshdp::train
