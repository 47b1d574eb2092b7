// lshdp: chooses a command and turns errors into messages and exit codes.
#include <algorithm>
#include <exception>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/launch.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/cli/version_text.h"
#include "lshdp/core/error.h"
#include "lshdp/core/memory.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/core/version.h"

namespace {

using lshdp::cli::Arguments;
using lshdp::cli::Command;

std::string overview() {
  lshdp::Table table({"Commands", ""});
  for (const Command& command : lshdp::cli::commands()) {
    table.add({"  " + command.name, command.help + (command.uses_mpi ? " (under mpirun for more than one rank)" : "")});
  }
  return fmt::format(
      "{}: trains ViT and GPT models on machines of unequal speed\n\n"
      "Usage: lshdp COMMAND [options]\n       mpirun -np N lshdp COMMAND [options]\n\n{}\n"
      "lshdp COMMAND --help explains a command and gives an example.\n",
      lshdp::program_version(), table.to_string());
}

int print(const std::string& text) {
  if (lshdp::cli::launch_rank() == 0) lshdp::print_output(text);
  return 0;
}

[[noreturn]] void refuse_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : lshdp::cli::commands()) names.push_back(command.name);
  std::vector<std::string> near = names;
  near.insert(near.end(), {"help", "--help", "--version"});
  throw lshdp::UsageError(fmt::format("unknown command '{}'; the commands are {}{}", name, fmt::join(names, ", "),
                                      lshdp::did_you_mean(name, near)));
}

const Command& command_named(const std::string& name) {
  const std::vector<Command>& all = lshdp::cli::commands();
  const auto found = std::ranges::find(all, name, &Command::name);
  if (found == all.end()) refuse_command(name);
  return *found;
}

/// All ranks would do the same, and write the same files.
void refuse_several_ranks(const Command& command) {
  if (command.uses_mpi || lshdp::cli::ranks_of_mpirun() == 1) return;
  throw lshdp::UsageError("this command runs in one process; start it without mpirun");
}

/// `lshdp help train` is `lshdp train --help`.
Arguments without_help(Arguments arguments) {
  if (arguments.size() < 2 || arguments[0] != "help") return arguments;
  arguments.erase(arguments.begin());
  arguments.push_back("--help");
  return arguments;
}

int run(const Arguments& arguments) {
  const std::string first = arguments.empty() ? "--help" : arguments[0];
  if (first == "--help" || first == "-h" || first == "help") return print(overview());
  if (first == "--version") return print(lshdp::cli::version_text());
  const Command& command = command_named(first);
  if (!std::ranges::any_of(arguments, [](const std::string& a) { return a == "--help" || a == "-h"; }))
    refuse_several_ranks(command);
  return command.run(arguments);
}

/// What a process was asked for that is done and has met no other rank.
std::string asked_for(const Arguments& arguments) {
  return !arguments.empty() && arguments[0] == "--version" ? "--version" : "help";
}

/// The command that messages name: nothing where there is none.
std::string name_of(const Arguments& arguments) {
  const bool known = !arguments.empty() && std::ranges::count(lshdp::cli::commands(), arguments[0], &Command::name) > 0;
  return known ? arguments[0] : "";
}

}  // namespace

int main(int argc, char** argv) {
  lshdp::guard_standard_streams();
  lshdp::keep_freed_memory();
  const Arguments arguments = without_help(Arguments(argv + 1, argv + argc));
  try {
    const int code = run(arguments);
    return code != 0 ? code : lshdp::cli::end_without_ranks(asked_for(arguments));
  } catch (const lshdp::Error& error) {
    return lshdp::cli::fail_before_ranks(name_of(arguments), error.what(), error.exit_code());
  } catch (const std::exception& error) {
    return lshdp::cli::fail_before_ranks(name_of(arguments), lshdp::explain(error), 1);
  } catch (...) {  // HDF5's errors are of no standard type
    return lshdp::cli::fail_before_ranks(name_of(arguments), lshdp::cli::kNoWords, 1);
  }
}
