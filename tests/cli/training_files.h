// Models and data sets for tests that train by the command line: made once per test program.
#pragma once
#include <string>

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

}  // namespace lshdp::test
