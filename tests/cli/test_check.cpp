// lshdp check: what it finds wrong with hosts, files and folders, and its verdict.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host_report.h"
#include "lshdp/core/file.h"
#include "lshdp/core/host.h"
#include "program.h"
#include "training_files.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using cli::HostReport;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

HostReport report(const std::string& node, const std::string& interfaces) {
  return {.node = node,
          .machine = node,
          .program = {"lshdp 1.0", "abc", "gcc"},
          .executable = "xxh3-128:00",
          .libraries = {{"HDF5", "1.10.8"}},
          .devices = "cpu",
          .own_cores = 8,
          .allowed_cores = 8,
          .node_cores = 8,
          .threads = 8,
          .free_memory = 1 << 30,
          .clock_seconds = 1e9,
          .interfaces = comm::interfaces_from_text(interfaces)};
}

class Problems : public testing::Test {
 protected:
  std::vector<std::string> found(bool network_chosen = false) const {
    return cli::problems_of(reports_, network_chosen);
  }
  std::vector<HostReport> reports_{report("a", "eth0=10.0.0.1/24"), report("b", "eth0=10.0.0.2/24")};
};

TEST_F(Problems, AreNoneOnEqualNodes) { EXPECT_THAT(found(), IsEmpty()); }

TEST_F(Problems, OtherSourcesAndLibraries) {
  reports_[1].program.sources = "def";
  reports_[1].executable = "xxh3-128:01";
  reports_[1].libraries = {{"HDF5", "1.14.0"}};
  EXPECT_THAT(found(),
              ElementsAre("the program is lshdp 1.0 (sources abc) on rank 0 (a), lshdp 1.0 (sources def) on "
                          "rank 1 (b); build one version on all nodes",
                          "HDF5 is 1.10.8 on rank 0 (a), 1.14.0 on rank 1 (b); install one version on all nodes"));
}

TEST_F(Problems, AnExecutableThatDiffersOnlyWhereItShouldNot) {
  reports_[1].executable = "xxh3-128:01";
  EXPECT_THAT(found(),
              ElementsAre(HasSubstr("the executable is xxh3-128:00 on rank 0 (a), xxh3-128:01 on rank 1 (b)")));
  reports_[1].program.build = "clang";
  EXPECT_THAT(found(), IsEmpty()) << "another build of the same sources";
}

TEST_F(Problems, ARankBoundToOneCoreOrToFewerThanItsThreads) {
  reports_[1].own_cores = reports_[1].node_cores = reports_[1].threads = 1;
  EXPECT_THAT(found(), ElementsAre("rank 1 (b) is bound to 1 of 8 cores: start mpirun with --bind-to none"));
  reports_[1].own_cores = 2;
  reports_[1].threads = 4;
  EXPECT_THAT(found(),
              ElementsAre("rank 1 (b) is bound to 2 of 8 cores and takes 4 threads: start mpirun with --bind-to none"));
}

TEST_F(Problems, RanksThatShareAllCoresOfANodeOneByOneAreFine) {
  for (HostReport& one : reports_) one.own_cores = one.threads = 1, one.node_cores = one.allowed_cores = 2;
  EXPECT_THAT(found(), IsEmpty());
}

TEST_F(Problems, ClocksThatDiffer) {
  reports_[1].clock_seconds -= 90;
  EXPECT_THAT(found(), ElementsAre("the clock of b is 90 s behind that of a: set both by NTP"));
}

TEST_F(Problems, AnAddressOfSeveralNodesWhileNoNetworkIsChosen) {
  reports_[0].interfaces = comm::interfaces_from_text("docker0=172.17.0.1/16 eth0=10.0.0.1/24");
  reports_[1].interfaces = comm::interfaces_from_text("docker0=172.17.0.1/16 eth0=10.0.0.2/24");
  EXPECT_THAT(found(), ElementsAre("a and b both have docker0=172.17.0.1/16: choose the network with mpirun --mca "
                                   "btl_tcp_if_include 10.0.0.0/24"));
  EXPECT_THAT(found(true), IsEmpty());
}

class Check : public TrainingFixture<> {};

TEST_F(Check, SaysThatAllIsWell) {
  const std::string results = (folder_ / "new/run").string();
  const CommandResult result =
      run_lshdp_on(2, "check " + files_->options("vit") + "," + files_->path("mlp.h5") + " --results " + results);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("good: 2 ranks on 1 node\n"));
  EXPECT_THAT(result.output, HasSubstr("100 images of 1 x 8 x 8"));
  EXPECT_THAT(result.output, HasSubstr(host_name()));
  EXPECT_FALSE(fs::exists(folder_ / "new")) << "what was not there is not left behind";
}

TEST_F(Check, WorksOnOneRank) {
  const CommandResult result = run_lshdp("check " + files_->options("gpt"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("good: 1 rank on 1 node\n"));
}

TEST_F(Check, NamesWhatIsWrongAndExitsWithOne) {
  const CommandResult result = run_lshdp_on(2, "check --model " + files_->path("gpt.json") + " --data " +
                                                   files_->path("vit.h5") + ",absent.h5 --init absent.safetensors");
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output, HasSubstr("the model reads tokens"));
  EXPECT_THAT(result.output, HasSubstr("absent.h5"));
  EXPECT_THAT(result.output, HasSubstr("absent.safetensors"));
  EXPECT_THAT(result.errors, HasSubstr("lshdp check: 3 things are wrong; see above"));
}

TEST_F(Check, FindsFilesAndFoldersThatDifferBetweenNodes) {
  for (const char* rank : {"0", "1"}) fs::create_directory(folder_ / rank);
  fs::copy_file(files_->path("vit.h5"), folder_ / "0" / "data.h5");
  fs::copy_file(files_->path("mlp.h5"), folder_ / "1" / "data.h5");
  const std::string command = lshdp_binary() + " check --data data.h5 --results run";
  const CommandResult result = run_command(mpirun_line(1) + " -wdir " + (folder_ / "0").string() + " " + command +
                                           " : -np 1 -wdir " + (folder_ / "1").string() + " " + command);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output, HasSubstr("wrong: data data.h5 is 100 images"));
  EXPECT_THAT(result.output, HasSubstr("is not the folder of rank 0"));
  EXPECT_THAT(result.errors, HasSubstr("2 things are wrong"));
}

}  // namespace
}  // namespace lshdp::test
