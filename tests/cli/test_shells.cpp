// The manual page and the completion of shells: every command and option is in them, and programs accept them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "listed_commands.h"
#include "lshdp/core/file.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using cli::ListedCommand;
using cli::Options;
using testing::HasSubstr;

std::string printed(const std::string& arguments) {
  const CommandResult result = run_lshdp(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  return result.output;
}

bool has_program(const std::string& name) { return run_command("command -v " + name).exit_code == 0; }

/// What stands between `begin` and the next `end`.
std::string part_of(const std::string& text, const std::string& begin, const std::string& end) {
  const std::size_t at = text.find(begin);
  EXPECT_NE(at, std::string::npos) << begin;
  return at == std::string::npos ? "" : text.substr(at, text.find(end, at + begin.size()) - at);
}

std::string with_roff_dashes(const std::string& text) {
  std::string escaped;
  for (const char c : text) escaped += c == '-' ? std::string("\\-") : std::string(1, c);
  return escaped;
}

TEST(Listed, CommandsAreAllOfTheProgram) {
  std::size_t expected = 0;
  for (const cli::Command& command : cli::commands()) {
    EXPECT_NE(command.options == nullptr, command.kinds == nullptr) << command.name;
    expected += command.kinds != nullptr ? command.kinds().size() : 1;
  }
  EXPECT_EQ(cli::listed_commands().size(), expected);
}

TEST(Listed, CommandsHaveTheOptionsThatTheyParse) {
  for (const char* command : {"data idx", "checkpoint list", "run", "init-config"}) {
    const auto listed = cli::listed_commands();
    const auto found = std::ranges::find(listed, command, &ListedCommand::name);
    ASSERT_NE(found, listed.end()) << command;
    EXPECT_EQ(printed(std::string(command) + " --help"), found->options.help());
  }
}

TEST(Manual, HasEveryCommandAndOption) {
  const std::string page = printed("man");
  for (const ListedCommand& command : cli::listed_commands()) {
    const std::string section = part_of(page, ".SS " + with_roff_dashes(command.name) + "\n", "\n.S");
    for (const Options::Definition& option : command.options.definitions()) {
      const bool common = option.name == "help" || option.name == "log";
      const std::string dashes = command.options.is_positional(option) ? "" : "--";
      EXPECT_THAT(common ? page : section, HasSubstr("\\fB" + with_roff_dashes(dashes + option.name) + "\\fR"))
          << command.name;
    }
  }
}

TEST(Manual, IsAPageOfMan) {
  const TemporaryDirectory folder;
  write_file(folder / "lshdp.1", printed("man"));
  const std::string file = (folder / "lshdp.1").string();
  if (has_program("mandoc")) {
    // Without a date: the same program prints the same page.
    EXPECT_EQ(run_command("mandoc -T lint -W warning " + file + " | grep -v 'missing date'").output, "");
  }
  if (!has_program("man")) GTEST_SKIP() << "there is no man";
  const CommandResult shown = run_command("MANWIDTH=100 man --warnings=all -l " + file);
  EXPECT_EQ(shown.errors, "");
  EXPECT_THAT(shown.output, HasSubstr("--checkpoint-every K"));
}

TEST(BashCompletion, HasEveryCommandAndOption) {
  const std::string text = printed("completion bash");
  for (const ListedCommand& command : cli::listed_commands()) {
    const std::string block = part_of(text, "    '" + command.name + "')", ";;");
    for (const Options::Definition& option : command.options.definitions()) {
      if (command.options.is_positional(option)) continue;
      EXPECT_THAT(block, HasSubstr("--" + option.name)) << command.name;
    }
  }
}

/// What bash offers for the last of `words`, which follow lshdp.
std::string offered(const std::string& words, int count) {
  static const std::string completion = printed("completion bash");
  const TemporaryDirectory folder;
  write_file(folder / "lshdp.bash", completion);
  write_file(folder / "ask.bash", "source \"$1\"\nCOMP_WORDS=(lshdp " + words + ")\nCOMP_CWORD=" +
                                      std::to_string(count) + "\n_lshdp\necho \"${COMPREPLY[*]}\"\n");
  const CommandResult result =
      run_command("bash " + (folder / "ask.bash").string() + " " + (folder / "lshdp.bash").string());
  return result.output;
}

TEST(BashCompletion, OffersWhatFits) {
  EXPECT_EQ(offered("tr", 1), "train\n");
  EXPECT_EQ(offered("data synthetic-i", 2), "synthetic-images\n");
  EXPECT_EQ(offered("data idx --im", 3), "--images\n");
  EXPECT_EQ(offered("train --tens", 2), "--tensorboard\n");
  EXPECT_EQ(offered("train --lr 1", 3), "\n");
  EXPECT_EQ(offered("train --lr = ''", 4), "\n");
  EXPECT_EQ(offered("help expl", 2), "explore\n");
  EXPECT_THAT(offered("train --data /et", 3), HasSubstr("/etc"));
  EXPECT_THAT(offered("train --results = /et", 4), HasSubstr("/etc"));
}

TEST(BashCompletion, IsRightForTheShell) {
  const TemporaryDirectory folder;
  write_file(folder / "lshdp.bash", printed("completion bash"));
  const std::string file = (folder / "lshdp.bash").string();
  EXPECT_EQ(run_command("bash -n " + file).errors, "");
  if (!has_program("shellcheck")) GTEST_SKIP() << "there is no shellcheck";
  const CommandResult checked = run_command("shellcheck -s bash " + file);
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
}

TEST(ZshCompletion, HasEveryCommandAndOption) {
  const std::string text = printed("completion zsh");
  for (const ListedCommand& command : cli::listed_commands()) {
    const std::string block = part_of(text, "    '" + command.name + "')", ";;");
    for (const Options::Definition& option : command.options.definitions()) {
      const std::string name = command.options.is_positional(option) ? ":" + option.name + ":" : "'--" + option.name;
      EXPECT_THAT(block, HasSubstr(name)) << command.name;
    }
  }
}

TEST(ZshCompletion, IsRightForTheShell) {
  if (!has_program("zsh")) GTEST_SKIP() << "there is no zsh";
  const TemporaryDirectory folder;
  write_file(folder / "_lshdp", printed("completion zsh"));
  EXPECT_EQ(run_command("zsh -n " + (folder / "_lshdp").string()).errors, "");
}

TEST(Completion, IsOfTwoShells) {
  const CommandResult other = run_lshdp("completion fish");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.errors, HasSubstr("choose from bash, zsh"));
}

}  // namespace
}  // namespace lshdp::test
