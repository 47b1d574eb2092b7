// Checkpoints that are written while training goes on are those of their own step.
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include <ATen/ATen.h>
#include <H5Cpp.h>
#include <gtest/gtest.h>

#include "checkpoint.h"
#include "checkpoint_writer.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "parallel/models.h"
#include "parallel/rank_suite.h"
#include "support/temporary_directory.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

/// Keeps every other thread out of HDF5, as a disk that does not answer would.
class StoppedHdf5 {
 public:
  StoppedHdf5() : thread_([this] { stop(); }) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopped_; });
  }
  void release() {
    {
      const std::scoped_lock lock(mutex_);
      released_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  ~StoppedHdf5() { release(); }
  StoppedHdf5(const StoppedHdf5&) = delete;
  StoppedHdf5& operator=(const StoppedHdf5&) = delete;

 private:
  /// HDF5 calls back with its lock held.
  void stop() {
    const H5::PropList list(H5P_FILE_ACCESS);
    int first = 0;
    H5Piterate(
        list.getId(), &first,
        [](hid_t, const char*, void* self) {
          static_cast<StoppedHdf5*>(self)->hold();
          return 1;
        },
        this);
  }
  void hold() {
    std::unique_lock lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return released_; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false, released_ = false;
  std::thread thread_;  // the last member: it begins when all others are there
};

struct Way {
  const char* name;
  plan::Mode mode = plan::Mode::ddp;
  double clip = 0;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class Writer : public test::RankSuite<testing::TestWithParam<Way>> {
 protected:
  void SetUp() override {
    // All ranks see rank 0's folder.
    path_ = comm::on_rank_0(*communicator_, [&] {
      folder_.emplace();
      return folder_->path().string();
    });
  }
  void TearDown() override { communicator_->barrier(); }

  std::unique_ptr<parallel::ParameterStore> make() const {
    auto store =
        parallel::make_store(model_, *communicator_, {.strategy = {.mode = GetParam().mode}, .bucket_bytes = 256});
    store->set_values(model::initial_values(model_, 1));
    return store;
  }
  void train(parallel::ParameterStore& store, int from, int to) const {
    parallel::BlockWalker walker(model_, store, {});
    for (int step = from; step <= to; ++step) {
      const model::SyntheticBatch batch =
          model::synthetic_batch(model_.input, 2, static_cast<std::uint64_t>(10 * step + rank()));
      walker.train_step(
          {.step = step, .learning_rate = 0.01, .global_terms = 2 * ranks(), .clip_norm = GetParam().clip}, batch.input,
          batch.target, {2});
    }
  }
  static CheckpointInfo info(std::int64_t step) {
    CheckpointInfo info;
    info.step = step;
    info.total = 4;
    info.model = info.training = info.data = nlohmann::json::object();
    info.program = "lshdp 1";
    return info;
  }
  fs::path step_folder(int step) const { return path_ / "checkpoints" / ("step-" + std::to_string(step)); }

  /// Copies of what this rank owns now.
  static std::vector<parallel::StatePiece> copies(parallel::ParameterStore& store) {
    std::vector<parallel::StatePiece> pieces = store.owned_state();
    for (parallel::StatePiece& piece : pieces) {
      piece.value = piece.value.clone();
      piece.first_moment = piece.first_moment.clone();
      piece.second_moment = piece.second_moment.clone();
    }
    return pieces;
  }
  /// To the bit.
  void expect_holds(int step, const std::vector<parallel::StatePiece>& expected) const {
    const auto read = make();
    load_checkpoint(*communicator_, step_folder(step), *read);
    const auto found = read->owned_state();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(at::equal(found[i].value, expected[i].value)) << step << expected[i].name;
      EXPECT_TRUE(at::equal(found[i].first_moment, expected[i].first_moment)) << step << expected[i].name;
      EXPECT_TRUE(at::equal(found[i].second_moment, expected[i].second_moment)) << step << expected[i].name;
    }
  }
  /// As the trainer learns it with each step's figures.
  static std::int64_t least(const CheckpointWriter& writer) {
    const auto all = comm::all_gather_values(*communicator_, static_cast<double>(writer.progress()));
    return static_cast<std::int64_t>(*std::min_element(all.begin(), all.end()));
  }

  const model::Model model_ = test::small_mlp();
  std::optional<test::TemporaryDirectory> folder_;  // rank 0's
  fs::path path_;
};

TEST_P(Writer, WritesTwoInARowWhileTrainingGoesOn) {
  const auto store = make();
  CheckpointWriter writer(*communicator_, *store, {path_, 2}, 0);
  train(*store, 1, 3);
  store->synchronize();
  const auto third = copies(*store);
  writer.begin(info(3));
  train(*store, 4, 6);
  store->synchronize();
  EXPECT_EQ(writer.finish().step, 3);
  const auto sixth = copies(*store);
  writer.begin(info(6));
  train(*store, 7, 9);
  store->synchronize();
  EXPECT_EQ(writer.finish().step, 6);
  expect_holds(3, third);
  expect_holds(6, sixth);
}

/// Begun while the step's sums and updates are still under way.
TEST_P(Writer, WritesTheStateOfAStepThatIsNotDoneYet) {
  const auto store = make();
  CheckpointWriter writer(*communicator_, *store, {path_, 2}, 0);
  train(*store, 1, 2);
  writer.begin(info(2));
  store->synchronize();
  const auto second = copies(*store);
  train(*store, 3, 3);
  while (writer.under_way()) writer.advance(least(writer));
  train(*store, 4, 5);
  writer.begin(info(5));
  store->synchronize();
  const auto fifth = copies(*store);
  EXPECT_EQ(writer.finish().step, 5);
  expect_holds(2, second);
  expect_holds(5, fifth);
}

TEST_P(Writer, HoldsTheStateWhileTheDiskDoesNotAnswer) {
  const auto store = make();
  CheckpointWriter writer(*communicator_, *store, {path_, 2}, 0);
  train(*store, 1, 2);
  store->synchronize();
  const auto second = copies(*store);
  StoppedHdf5 disk;
  writer.begin(info(2));
  train(*store, 3, 3);  // its gradients are on their way; no update may pass
  disk.release();
  store->synchronize();
  EXPECT_EQ(writer.finish().step, 2);
  train(*store, 4, 4);
  store->synchronize();  // a store that is destroyed with updates under way gives communication up
  expect_holds(2, second);
}

TEST_P(Writer, IsCompleteOnceAllRanksKnowThatItIs) {
  const auto store = make();
  CheckpointWriter writer(*communicator_, *store, {path_, 2}, 1);
  EXPECT_FALSE(writer.advance(100));
  writer.begin(info(1));
  EXPECT_FALSE(writer.advance(0));  // as the figures of the step before said
  std::optional<WrittenCheckpoint> written;
  while (!written) written = writer.advance(least(writer));
  EXPECT_EQ(written->step, 1);
  EXPECT_FALSE(writer.under_way());
  EXPECT_TRUE(fs::exists(step_folder(1) / "manifest.json"));
  train(*store, 2, 2);
  writer.begin(info(2));
  while (writer.under_way()) writer.advance(least(writer));
  store->synchronize();
  EXPECT_TRUE(fs::exists(step_folder(2) / "manifest.json"));
}

TEST_P(Writer, GivenUpLeavesNoCheckpointAndLetsTrainingGoOn) {
  const auto store = make();
  {
    CheckpointWriter writer(*communicator_, *store, {path_, 2}, 1);
    writer.begin(info(1));
  }
  train(*store, 1, 1);
  store->synchronize();
  EXPECT_FALSE(fs::exists(step_folder(1) / "manifest.json"));
}

/// Whatever keeps one rank from writing ends the save on all, and no update waits for it.
TEST_P(Writer, FailsOnAllRanksWhereOneCannotWrite) {
  const auto store = make();
  CheckpointWriter writer(*communicator_, *store, {path_, 2}, 1);
  comm::on_rank_0(*communicator_, [&] {
    fs::create_directories(step_folder(1) / ("rank-" + std::to_string(ranks() - 1) + ".h5.tmp"));
    return std::string();
  });
  writer.begin(info(1));
  train(*store, 1, 2);
  store->synchronize();
  try {
    static_cast<void>(writer.finish());
    FAIL() << "written";
  } catch (const AgreedError& error) {
    EXPECT_NE(std::string(error.what()).find(".h5: Is a directory"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists(step_folder(1) / "manifest.json"));
}

/// Another run may have the folder's name by then.
TEST_P(Writer, FailsWhereTheRunFolderWasMoved) {
  const auto store = make();
  fs::path run = path_ / "run";
  comm::on_rank_0(*communicator_, [&] {
    fs::create_directories(run);
    return std::string();
  });
  CheckpointWriter writer(*communicator_, *store, {run, 2}, 1);
  communicator_->barrier();
  comm::on_rank_0(*communicator_, [&] {
    fs::rename(run, path_ / "moved");
    fs::create_directories(run);
    return std::string();
  });
  train(*store, 1, 1);
  store->synchronize();
  writer.begin(info(1));
  try {
    static_cast<void>(writer.finish());
    FAIL() << "written";
  } catch (const AgreedError& error) {
    EXPECT_NE(std::string(error.what()).find("is no longer the folder that this run began in"), std::string::npos)
        << error.what();
    EXPECT_EQ(error.exit_code(), 1);
  }
  EXPECT_FALSE(fs::exists(run / "checkpoints"));
}

INSTANTIATE_TEST_SUITE_P(Modes, Writer,
                         testing::Values(Way{"Ddp"}, Way{.name = "DdpClip", .clip = 0.05},
                                         Way{"Fsdp", plan::Mode::fsdp}, Way{"Lsdp", plan::Mode::lsdp},
                                         Way{"LsdpClip", plan::Mode::lsdp, 0.05}),
                         [](const testing::TestParamInfo<Way>& test) { return test.param.name; });

}  // namespace
}  // namespace lshdp::train
