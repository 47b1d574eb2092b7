// What processes take in all: within the budget and the part that was stated, and what cannot hold is said before.
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class MemoryLimits : public testing::Test {
 protected:
  MemoryLimits() {
    // 12 million parameters whose activations are small: what is resident are whole copies of them.
    write_file(path("wide.json"),
               R"({"type":"mlp","input_size":784,"hidden_sizes":[2048,2048,2048],"output_size":10})");
    // Few parameters, large activations.
    write_file(path("deep.json"), R"({"type":"vit","image_size":28,"channels":1,"patch_size":2,"num_layers":4,)"
                                  R"("num_heads":4,"hidden_dim":64,"mlp_dim":256,"num_classes":10})");
    const CommandResult made =
        run_lshdp("data synthetic-images --count 600 --channels 1 --size 28 --classes 10 --out " + path("data.h5"));
    EXPECT_EQ(made.exit_code, 0) << made.output;
  }
  std::string path(const char* name) const { return (folder_ / name).string(); }

 private:
  TemporaryDirectory folder_;
};

struct Watched {
  CommandResult result;
  std::int64_t peak_bytes = 0;  // of the process of the command that was largest
};

/// Runs `lshdp ARGUMENTS` on ranks, in a process of its own whose descendants' peak the kernel tells.
Watched watched(int ranks, const std::string& arguments, const fs::path& folder) {
  const fs::path file = folder / "watched.json";
  if (const pid_t child = fork(); child == 0) {
    const CommandResult result = run_lshdp_on(ranks, arguments, 120);
    rusage usage{};
    getrusage(RUSAGE_CHILDREN, &usage);
    write_json(file, {{"exit_code", result.exit_code}, {"output", result.output}, {"kilobytes", usage.ru_maxrss}});
    _exit(0);
  } else {
    waitpid(child, nullptr, 0);
  }
  const Json json = read_json(file);
  Watched seen;
  seen.result.exit_code = json["exit_code"];
  seen.result.output = json["output"];
  seen.peak_bytes = 1024 * json["kilobytes"].get<std::int64_t>();
  return seen;
}

/// The size that a run states where `pattern` has its number and unit; 0 if it does not.
std::int64_t stated_bytes(const std::string& output, const char* pattern) {
  std::smatch match;
  if (!std::regex_search(output, match, std::regex(pattern))) return 0;
  return parse_size(match[1].str() + match[2].str(), pattern);
}

TEST_F(MemoryLimits, ResidentMemoryStaysWithinTheBudgetAndTheStatedPartInEveryMode) {
  struct Case {
    const char *model, *options;
  };
  constexpr std::int64_t kBudget = std::int64_t{96} << 20;
  for (const Case& one :
       {Case{"deep.json", "--mode ddp"}, Case{"deep.json", "--mode fsdp"}, Case{"wide.json", "--mode lsdp"}}) {
    SCOPED_TRACE(std::string(one.model) + " " + one.options);
    const std::string rest = std::string(" --model ") + path(one.model) + " --memory 96MiB --threads 1 " + one.options;
    const CommandResult probed = run_lshdp_on(3, "max-batch --max 32 --out " + path("max.json") + rest);
    ASSERT_EQ(probed.exit_code, 0) << probed.output;
    const std::string largest =
        std::to_string(read_json(path("max.json"))["ranks"][0]["max_batch"].get<std::int64_t>());
    const Watched seen = watched(
        3, "train --data " + path("data.h5") + " --steps 2 --batches " + largest + "," + largest + "," + largest + rest,
        path("."));
    ASSERT_EQ(seen.result.exit_code, 0) << seen.result.output;
    const std::int64_t process = stated_bytes(seen.result.output, R"(about ([0-9.]+) (\w+) for its process)");
    const std::int64_t beside = stated_bytes(seen.result.output, R"(and ([0-9.]+) (\w+) that \w+ keeps in the memory)");
    EXPECT_GT(process, 50 << 20) << seen.result.output;
    EXPECT_LT(process, 400 << 20) << seen.result.output;
    const std::int64_t copy = stated_bytes(seen.result.output, R"(; ([0-9.]+) (\w+) more for a moment)");
    EXPECT_LE(seen.peak_bytes, kBudget + process + beside + copy)
        << format_size(seen.peak_bytes) << ", process " << format_size(process) << ", host " << format_size(beside);
  }
}

/// A control group of the kernel's version 1 or 2 with a limit of memory; empty where none can be made.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::int64_t bytes) {
    const std::string name = "lshdp-test-" + std::to_string(getpid());
    for (const char* root : {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"}) {
      const bool first = std::string(root) == "/sys/fs/cgroup/memory";
      std::error_code error;
      if (!fs::exists(fs::path(root) / "cgroup.procs", error)) continue;
      const fs::path folder = fs::path(root) / name;
      if (!fs::create_directory(folder, error) || error) continue;
      folder_ = folder;
      const fs::path limit = folder / (first ? "memory.limit_in_bytes" : "memory.max");
      if (fs::exists(limit) && put(limit, std::to_string(bytes))) return;
      fs::remove(folder_, error);
      folder_.clear();
    }
  }
  ~MemoryGroup() {
    std::error_code error;
    if (!folder_.empty()) fs::remove(folder_, error);
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  bool made() const { return !folder_.empty(); }
  /// `command` in the group.
  std::string inside(const std::string& command) const {
    return "echo $$ >" + (folder_ / "cgroup.procs").string() + "; " + command;
  }

 private:
  static bool put(const fs::path& file, const std::string& text) {
    return std::system(("echo " + text + " 2>/dev/null >" + file.string()).c_str()) == 0;
  }
  fs::path folder_;
};

TEST_F(MemoryLimits, BudgetsThatAControlGroupCannotHoldAreWarnedOf) {
  const MemoryGroup group(std::int64_t{1200} << 20);
  if (!group.made()) GTEST_SKIP() << "no control group can be made here";
  const auto train = [&](int ranks, const std::string& memory) {
    return run_command(group.inside(mpirun_line(ranks) + " " + lshdp_binary() + " train --model " + path("wide.json") +
                                    " --data " + path("data.h5") + " --threads 1 --steps 2 --batches " +
                                    (ranks == 2 ? "8,8" : "8,8,8") + " --memory " + memory),
                       120);
  };
  for (const int ranks : {2, 3}) {
    const CommandResult result = train(ranks, "500MiB");
    EXPECT_THAT(result.output, AllOf(HasSubstr("--memory: the ranks on "), HasSubstr("the kernel may end them")));
  }
  const CommandResult fits = train(2, "300MiB");
  EXPECT_EQ(fits.exit_code, 0) << fits.output;
  EXPECT_THAT(fits.output, Not(HasSubstr("the kernel may end them")));
}

TEST_F(MemoryLimits, AModelBeyondTheProcesssOwnLimitIsRefusedByName) {
  const CommandResult result = run_command("ulimit -v 3000000; " + lshdp_binary() +
                                           " max-batch --threads 1 --model gpt2 --out " + path("max.json"));
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.errors, AllOf(HasSubstr("gpt2 does not fit"), HasSubstr("(ulimit -v)"), Not(HasSubstr(" 0 B"))));
  EXPECT_EQ(count_lines_with(result.errors, "lshdp "), 1) << result.errors;
}

}  // namespace
}  // namespace lshdp::test
