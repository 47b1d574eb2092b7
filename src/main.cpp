// lshdp: chooses a command and turns errors into messages and exit codes.
#include <cstdio>
#include <exception>
#include <string>

#include <fmt/format.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/launch.h"
#include "lshdp/core/cuda.h"
#include "lshdp/core/error.h"
#include "lshdp/core/memory.h"
#include "lshdp/core/text.h"

namespace {

using lshdp::cli::Arguments;
using lshdp::cli::Command;

std::string overview() {
  lshdp::Table table({"Commands", ""});
  for (const Command& command : lshdp::cli::commands()) {
    table.add({"  " + command.name, command.help + (command.uses_mpi ? " (under mpirun for more than one rank)" : "")});
  }
  return fmt::format(
      "lshdp {}: trains ViT and GPT models on machines of unequal speed\n\n"
      "Usage: lshdp COMMAND [options]\n       mpirun -np N lshdp COMMAND [options]\n\n{}\n"
      "lshdp COMMAND --help explains a command and gives an example.\n",
      LSHDP_VERSION, table.to_string());
}

int print(const std::string& text) {
  if (lshdp::cli::launch_rank() == 0) std::fputs(text.c_str(), stdout);
  return 0;
}

/// And what this build can compute on, here.
std::string version() {
  std::string devices = lshdp::built_with_cuda() ? "CUDA build, no device here" : "CPU build";
  for (int index = 0; index < lshdp::cuda_device_count(); ++index) {
    const auto device = lshdp::make_cuda_device(index);
    devices =
        fmt::format("{}{} {}", index == 0 ? "CUDA build; " : devices + ", ", device->name(), device->description());
  }
  return fmt::format("lshdp {} ({})\n", LSHDP_VERSION, devices);
}

int unknown_command(const std::string& name) {
  std::string names;
  for (const Command& command : lshdp::cli::commands()) names += (names.empty() ? "" : ", ") + command.name;
  return lshdp::cli::fail_before_mpi("", fmt::format("unknown command '{}'; the commands are {}", name, names), 2);
}

int run(const Command& command, const Arguments& arguments) {
  try {
    return command.run(arguments);
  } catch (const lshdp::Error& error) {
    return lshdp::cli::fail_before_mpi(command.name, error.what(), error.exit_code());
  } catch (const std::exception& error) {
    return lshdp::cli::fail_before_mpi(command.name, lshdp::cli::one_line(error), 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  lshdp::keep_freed_memory();
  const Arguments arguments(argv + 1, argv + argc);
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") return print(overview());
  if (arguments[0] == "--version") return print(version());
  for (const Command& command : lshdp::cli::commands()) {
    if (command.name == arguments[0]) return run(command, arguments);
  }
  return unknown_command(arguments[0]);
}
