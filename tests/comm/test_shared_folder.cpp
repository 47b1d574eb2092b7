// A folder counts as shared only where every rank sees what the others write.
#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/shared_folder.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "support/temporary_directory.h"

namespace lshdp::comm {
namespace {

namespace fs = std::filesystem;

class SharedFolder : public test::OnRanks {
 protected:
  /// Rank 0's folder, by name on all ranks.
  fs::path common() { return broadcast_text(communicator(), own_.path().string()); }
  fs::path own() const { return own_.path(); }

 private:
  test::TemporaryDirectory own_;
};

TEST_F(SharedFolder, IsTakenAndLeftEmpty) {
  const fs::path folder = common() / "folder";
  if (rank() == 0) fs::create_directory(folder);
  communicator().barrier();
  require_shared_folder(communicator(), folder, "--results");
  communicator().barrier();
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(SharedFolder, IsMadeForTheProofOnlyWhereItIsMissing) {
  require_shared_folder(communicator(), common() / "new" / "folder", "--results");
  communicator().barrier();
  EXPECT_FALSE(fs::exists(common() / "new"));
}

TEST_F(SharedFolder, AFolderOfEachRankIsRefusedByName) {
  if (size() == 1) return;
  try {
    require_shared_folder(communicator(), own(), "--results", 0.3);
    FAIL() << "taken";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(), testing::HasSubstr("rank 1 ("));
    EXPECT_THAT(error.what(), testing::HasSubstr("--results: "));
    EXPECT_THAT(error.what(), testing::HasSubstr("is not the folder of rank 0"));
  }
  EXPECT_TRUE(fs::is_empty(own()));
}

TEST_F(SharedFolder, WaitsForFilesThatAreSeenLate) {
  // Only rank 0 sees the folder at first; it shows it to the others once its own file is there.
  const fs::path folder = common() / "folder", link = own() / "link";
  if (rank() == 0) fs::create_directory(folder);
  communicator().barrier();
  std::thread late([&] {
    if (rank() == 0) return;
    while (fs::is_empty(folder)) std::this_thread::yield();
    fs::create_directory_symlink(folder, link);
  });
  require_shared_folder(communicator(), rank() == 0 ? folder : link, "--results", 30);
  late.join();
}

}  // namespace
}  // namespace lshdp::comm
