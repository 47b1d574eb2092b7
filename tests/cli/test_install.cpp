// `cmake --install` makes a tree that runs wherever it is moved, and so does a build tree beside its LibTorch.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(Install, MakesATreeThatCanBeMoved) {
  const TemporaryDirectory folder;
  const std::string first = (folder / "first").string(), moved = (folder / "moved").string();
  const CommandResult installed = run_command("'" LSHDP_CMAKE "' --install '" LSHDP_BUILD "' --prefix " + first);
  ASSERT_EQ(installed.exit_code, 0) << installed.output;
  fs::rename(first, moved);
  for (const char* file : {"share/lshdp/scripts/plot_results.py", "share/lshdp/configs/explore/base.yaml",
                           "share/doc/lshdp/README.md", "share/doc/lshdp/LICENSE", "share/man/man1/lshdp.1",
                           "share/bash-completion/completions/lshdp", "share/zsh/site-functions/_lshdp"})
    EXPECT_TRUE(fs::exists(fs::path(moved) / file)) << file;
  const std::string program = moved + "/bin/lshdp";
  EXPECT_THAT(run_command(program + " --version").output, testing::StartsWith("lshdp "));
  const CommandResult saved = run_command(program + " init --model mlp --save " + (folder / "w.safetensors").string());
  EXPECT_EQ(saved.exit_code, 0) << saved.output;
  EXPECT_THAT(run_command("cd / && " + program + " explore --config-name none").output,
              HasSubstr("(in " + moved + "/share/lshdp/configs/explore)"));
  EXPECT_THAT(run_command("readelf -d " + program).output, HasSubstr("[$ORIGIN/../lib"));
}

TEST(BuildTree, FindsLibTorchBesideItselfWhenItWasMoved) {
  const std::string relative = fs::path(LSHDP_TORCH).lexically_relative(LSHDP_BUILD).string();
  if (!relative.starts_with("../.venv")) GTEST_SKIP() << "LibTorch is not in the source tree: " << relative;
  EXPECT_THAT(run_command("readelf -d " + lshdp_binary()).output, HasSubstr("$ORIGIN/" + relative));
}

/// Open MPI 5 has no library of C++ bindings any more; without it one program runs with Open MPI 4 and 5.
TEST(BuildTree, NeedsTheCInterfaceOfMpiAlone) {
  const std::string needed = run_command("readelf -d " + lshdp_binary()).output;
  EXPECT_THAT(needed, HasSubstr("[libmpi.so"));
  EXPECT_THAT(needed, testing::Not(HasSubstr("libmpi_cxx")));
}

}  // namespace
}  // namespace lshdp::test
