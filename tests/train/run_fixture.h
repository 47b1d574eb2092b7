// Whole runs of the trainer on the ranks of a test, over a small data set of images.
#pragma once
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/data/converters.h"
#include "lshdp/train/trainer.h"
#include "parallel/models.h"
#include "support/temporary_directory.h"

namespace lshdp::test {

/// What a run wrote.
struct Trained {
  std::vector<Json> steps;
  Json summary;
};

/// A folder that all ranks share, with 100 images in it: in batches of 24, every fifth step is a partial one.
class RunFixture : public testing::Test {
 protected:
  static constexpr std::int64_t kTotal = 24;

  RunFixture() {
    at::set_num_threads(1);
    folder_ = comm::broadcast_text(*communicator_, own_folder_.path().string());
    if (rank() == 0)
      data::make_synthetic_images({.count = 100, .channels = 1, .size = 8, .classes = 5}, {.path = data()});
    communicator_->barrier();
  }
  ~RunFixture() override { communicator_->barrier(); }

  int rank() const { return session_.rank(); }
  int ranks() const { return session_.size(); }
  std::filesystem::path data() const { return folder_ / "data.h5"; }

  /// Trains the small ViT; options.results must be given. All ranks call it.
  Trained run(const train::TrainOptions& options) const {
    Trained trained;
    trained.summary = train::train(*communicator_, small_vit(), options);
    std::istringstream lines(read_file(options.results / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const Json record = Json::parse(line);
      if (record["record"] == "step") trained.steps.push_back(record);
    }
    return trained;
  }

  comm::MpiSession session_{nullptr, nullptr};
  std::unique_ptr<comm::Communicator> communicator_ = comm::make_mpi_communicator(session_);
  const TemporaryDirectory own_folder_;
  std::filesystem::path folder_;  // rank 0's
};

}  // namespace lshdp::test
