// lshdp top: what it shows of a run that goes on, and that it leaves the terminal as it was.
#include <csignal>
#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/wall_time.h"
#include "program.h"
#include "run_follower.h"
#include "support/temporary_directory.h"
#include "top_view.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string launch(int ranks, std::int64_t resumed_after = 0) {
  Json json{{"record", "run"},         {"version", 1},
            {"model", "vit"},          {"mode", "ddp"},
            {"precision", "fp32"},     {"total", 12},
            {"last_step", 400},        {"predicted", nullptr},
            {"time", utc_time_text()}, {"resumed_after", resumed_after}};
  for (int rank = 0; rank < ranks; ++rank)
    json["ranks"].push_back({{"rank", rank},
                             {"host", "node" + std::to_string(rank)},
                             {"device", "cpu"},
                             {"batch", 4},
                             {"max_batch", 0},
                             {"speed", 1},
                             {"memory_bytes", 4 << 20}});
  return json.dump() + '\n';
}

std::string step(std::int64_t number, int ranks) {
  const auto each = [&](const Json& value) { return Json(std::vector<Json>(static_cast<std::size_t>(ranks), value)); };
  return Json{{"record", "step"},
              {"step", number},
              {"epoch", 0},
              {"loss", 1.0 / static_cast<double>(number)},
              {"learning_rate", 1e-3},
              {"gradient_norm", 1},
              {"samples", 12},
              {"step_seconds", 0.5},
              {"batches", each(4)},
              {"compute_seconds", each(0.25)},
              {"communication_seconds", each(0.05)},
              {"wait_seconds", each(0.125)},
              {"bytes_sent", each(1 << 20)},
              {"peak_tensor_bytes", each(2 << 20)},
              {"time", utc_time_text()}}
             .dump() +
         '\n';
}

class Top : public testing::Test {
 protected:
  void write(const std::string& text) const { write_file(folder_ / "metrics.jsonl", text); }
  void append(const std::string& text) const { std::ofstream(folder_ / "metrics.jsonl", std::ios::app) << text; }
  std::string run() const { return folder_.path().string(); }

  TemporaryDirectory folder_;
};

TEST_F(Top, PrintsWhatIsKnownWhereThereIsNoTerminal) {
  write(launch(2) + step(100, 2) +
        R"({"record":"evaluation","step":100,"loss":0.5,"accuracy":0.875,"samples":9})"
        "\n");
  const CommandResult result = run_lshdp("top " + run());
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("vit, ddp, 2 ranks"), HasSubstr("step 100 of 400 [######  "),
                                   HasSubstr("2 min left, until"), HasSubstr("loss 0.0100"), HasSubstr("87.50 %")));
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("node1"), HasSubstr("[############......      ]"), HasSubstr("running"),
                    HasSubstr("2.00 MiB of 4.00 MiB"), HasSubstr("10 %, 2.00 MiB/s"), Not(HasSubstr("\033"))));
}

TEST_F(Top, SaysHowARunStands) {
  write_file(folder_ / ".lock", "");
  EXPECT_THAT(run_lshdp("top --once " + run()).output, HasSubstr("has not begun to train"));
  write(launch(2));
  EXPECT_THAT(run_lshdp("top --once " + run()).output, HasSubstr("no step yet"));
  std::string old = step(1, 2);
  const std::size_t year = old.find("\"time\":\"2") + 8;
  write(launch(2) + old.replace(year, 4, "2020"));
  EXPECT_THAT(run_lshdp("top --once " + run()).output, HasSubstr("no step for "));
  write_file(folder_ / "summary.json", Json{{"finished", false}, {"time", utc_time_text()}}.dump());
  EXPECT_THAT(run_lshdp("top --once " + run()).output, HasSubstr("interrupted"));
  write_file(folder_ / "summary.json", Json{{"finished", true}, {"time", utc_time_text()}}.dump());
  EXPECT_THAT(run_lshdp("top --once " + run()).output, AllOf(HasSubstr("finished"), Not(HasSubstr(" left"))));
}

TEST_F(Top, RefusesAFolderThatIsNoRun) {
  const CommandResult result = run_lshdp("top " + run());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("no run directory"), HasSubstr("--results")));
  write(launch(2) + "{\"record\":\"step\",\n");
  EXPECT_EQ(run_lshdp("top " + run()).exit_code, 2);
  EXPECT_THAT(run_lshdp("top " + run() + " --interval 0").errors, HasSubstr("--interval"));
}

TEST_F(Top, FollowsARunAsItWrites) {
  write(launch(2) + step(1, 2));
  cli::RunFollower follower(folder_.path());
  EXPECT_EQ(follower.look().steps.size(), 1U);
  const std::string second = step(2, 2);
  append(second.substr(0, 30));
  EXPECT_EQ(follower.look().steps.size(), 1U);
  append(second.substr(30));
  EXPECT_EQ(follower.look().steps.back().step, 2);
  for (int number = 3; number < 30; ++number) append(step(number, 2));
  EXPECT_EQ(follower.look().steps.size(), cli::kRecentSteps);
  EXPECT_EQ(follower.look().steps.back().step, 29);
  // A resumed run writes the file anew: with fewer steps, and here on other ranks.
  write(launch(2) + step(1, 2) + launch(3, 1) + step(2, 3));
  const cli::RunState& resumed = follower.look();
  EXPECT_EQ(resumed.run.value().ranks.size(), 3U);
  ASSERT_EQ(resumed.steps.size(), 1U);
  EXPECT_EQ(resumed.steps.back().step, 2);
}

TEST_F(Top, KeepsToTheTerminal) {
  write(launch(30) + step(1, 30));
  cli::RunFollower follower(folder_.path());
  const std::vector<std::string> lines =
      cli::top_view("r\xc3\xa9sum\xc3\xa9", follower.look(), {.rows = 12, .columns = 20});
  EXPECT_LE(lines.size(), 12U);
  EXPECT_EQ(lines.front(), "r\xc3\xa9sum\xc3\xa9: vit, ddp, 30");
  EXPECT_THAT(cli::top_view("r", follower.look(), {.rows = 12, .columns = 99}).back(), HasSubstr("more ranks"));
  EXPECT_EQ(cli::top_view("r", follower.look(), {}).size(), 36U);
}

/// lshdp top on a terminal of its own.
class OnTerminal {
 public:
  explicit OnTerminal(const std::string& run) {
    winsize size{.ws_row = 20, .ws_col = 120, .ws_xpixel = 0, .ws_ypixel = 0};
    EXPECT_EQ(openpty(&master_, &slave_, nullptr, nullptr, &size), 0);
    EXPECT_EQ(tcgetattr(slave_, &before_), 0);
    process_ = fork();
    if (process_ == 0) {
      login_tty(slave_);
      execl(lshdp_binary().c_str(), "lshdp", "top", run.c_str(), "--interval", "0.1", nullptr);
      _exit(127);
    }
  }
  ~OnTerminal() {
    if (process_ > 0 && !ended_) {
      kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
    close(master_);
    close(slave_);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  bool wait_for(const std::string& text) {
    return wait_until([&] { return output_.find(text) != std::string::npos; });
  }
  void press(char key) const { EXPECT_EQ(::write(master_, &key, 1), 1); }
  void signal(int number) const { kill(process_, number); }
  /// The exit code; -1: it does not end.
  int end() {
    int status = 0;
    wait_until([&] { return ended_ = ended_ || waitpid(process_, &status, WNOHANG) == process_; });
    read_on(0);
    return ended_ && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  bool is_as_before() const {
    termios now{};
    tcgetattr(slave_, &now);
    return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag && now.c_oflag == before_.c_oflag;
  }
  const std::string& output() const { return output_; }

 private:
  void read_on(int milliseconds) {
    pollfd input{master_, POLLIN, 0};
    char piece[4096];
    while (poll(&input, 1, milliseconds) > 0) {
      const ssize_t count = read(master_, piece, sizeof piece);
      if (count <= 0) return;
      output_.append(piece, static_cast<std::size_t>(count));
      milliseconds = 0;
    }
  }
  template <typename Condition>
  bool wait_until(Condition condition) {
    const double begun = now_seconds();
    while (now_seconds() - begun < kHangSeconds) {
      if (condition()) return true;
      read_on(20);
    }
    return false;
  }

  int master_ = -1, slave_ = -1;
  pid_t process_ = 0;
  bool ended_ = false;
  termios before_{};
  std::string output_;
};

TEST_F(Top, ShowsARunUntilQIsPressed) {
  write(launch(2) + step(1, 2));
  OnTerminal terminal(run());
  EXPECT_TRUE(terminal.wait_for("step 1 of 400")) << terminal.output();
  EXPECT_FALSE(terminal.is_as_before());
  append(step(2, 2));
  EXPECT_TRUE(terminal.wait_for("step 2 of 400"));
  terminal.press('x');
  terminal.press('q');
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_TRUE(terminal.is_as_before());
  EXPECT_THAT(terminal.output(), AllOf(testing::StartsWith("\033[?1049h"), testing::EndsWith("\033[?25h\033[?1049l")));
}

TEST_F(Top, EndsByCtrlCAndBySignals) {
  write(launch(2) + step(1, 2));
  for (const int number : {0, SIGTERM, SIGINT, SIGHUP}) {
    OnTerminal terminal(run());
    EXPECT_TRUE(terminal.wait_for("step 1 of 400"));
    if (number == 0)
      terminal.press('\x03');
    else
      terminal.signal(number);
    EXPECT_EQ(terminal.end(), 0) << number;
    EXPECT_TRUE(terminal.is_as_before()) << number;
  }
}

TEST_F(Top, LeavesTheTerminalWhereARunIsDamaged) {
  write(launch(2) + step(1, 2));
  OnTerminal terminal(run());
  EXPECT_TRUE(terminal.wait_for("step 1 of 400"));
  append("{\"record\":\"step\",\n");
  EXPECT_EQ(terminal.end(), 2);
  EXPECT_TRUE(terminal.is_as_before());
  EXPECT_THAT(terminal.output(), HasSubstr("lshdp top: "));
}

}  // namespace
}  // namespace lshdp::test
