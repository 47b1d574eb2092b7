// Models and data sets for tests that train by the command line, and the fixture of those tests.
#pragma once
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "support/temporary_directory.h"

namespace lshdp::test {

/// Small models ("vit", "gpt", "mlp") and their data, in a folder of their own.
class TrainingFiles {
 public:
  TrainingFiles();
  /// "--model FILE --data FILE" of a model.
  std::string options(const std::string& model) const;
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

 private:
  TemporaryDirectory folder_;
};

/// Runs `lshdp COMMAND` on `ranks`, kills one of them once `run` has a checkpoint, and expects that the run ends by
/// itself and leaves no rank. COMMAND ends with "--results RUN", which tells its ranks from any other's.
void expect_a_killed_rank_to_end(const std::string& command, int ranks, const std::string& run);

/// The files, made once for all tests of a suite, and a folder of each test's own.
template <typename Base = testing::Test>
class TrainingFixture : public Base {
 protected:
  static void SetUpTestSuite() { files_ = std::make_unique<TrainingFiles>(); }
  static void TearDownTestSuite() { files_.reset(); }
  /// A name in the test's own folder.
  std::string out(const std::string& name) const { return (folder_.path() / name).string(); }

  static inline std::unique_ptr<TrainingFiles> files_;
  const TemporaryDirectory folder_;
};

}  // namespace lshdp::test
