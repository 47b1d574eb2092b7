// lshdp report: tables of runs on standard output, and a picture drawn by scripts/plot_results.py.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "run_directory.h"

extern char** environ;

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

/// Exit code of plot_results.py where matplotlib is missing.
constexpr int kNoMatplotlib = 3;

/// The folder of our scripts: $LSHDP_SCRIPTS, or the one of the source tree this program was built from.
fs::path scripts_folder() {
  const char* chosen = std::getenv("LSHDP_SCRIPTS");
  return chosen != nullptr && *chosen != '\0' ? chosen : LSHDP_SOURCE_SCRIPTS;
}

/// Python of the .venv beside the scripts, otherwise python3 of the PATH.
std::string python_beside(const fs::path& scripts) {
  const fs::path python = scripts.parent_path() / ".venv" / "bin" / "python";
  return fs::exists(python) ? python.string() : "python3";
}

/// Runs a program with our standard streams and returns its exit code. Throws RunError if it cannot be started.
int run_program(std::vector<std::string> arguments) {
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, pointers[0], nullptr, nullptr, pointers.data(), environ);
  if (error != 0) throw RunError(fmt::format("cannot start {}: {}", arguments[0], std::strerror(error)));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw RunError(fmt::format("cannot wait for {}: {}", arguments[0], std::strerror(errno)));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void draw(const std::vector<std::string>& folders, const fs::path& picture) {
  const fs::path script = scripts_folder() / "plot_results.py";
  if (!fs::exists(script)) {
    throw RunError(fmt::format("cannot draw: {} does not exist; set LSHDP_SCRIPTS to the scripts folder of lshdp",
                               script.string()));
  }
  std::vector<std::string> command{python_beside(scripts_folder()), script.string(), "--out", picture.string()};
  command.insert(command.end(), folders.begin(), folders.end());
  const int code = run_program(command);
  if (code == kNoMatplotlib) {
    throw RunError(fmt::format("cannot draw: {} has no matplotlib; run scripts/setup.sh", command[0]));
  }
  if (code != 0) throw RunError(fmt::format("cannot draw: {} ended with exit code {}", script.string(), code));
}

}  // namespace

int run_report(const Arguments& arguments) {
  const Values values =
      Options("report", "Tabulates and draws runs that `lshdp train --results DIR` wrote",
              "lshdp report runs/equal runs/auto --out comparison.png")
          .option("out", "FILE.png",
                  "the picture; without it, report.png in the run directory, or comparison.png in the "
                  "current folder for several runs")
          .positionals("run", "run directories; several are compared with the first")
          .parse(arguments);
  if (values.help()) return 0;
  const std::vector<std::string>& folders = values.texts("run");
  std::vector<RunDirectory> runs;
  for (const std::string& folder : folders) runs.push_back(read_run_directory(folder));
  const fs::path otherwise = runs.size() > 1 ? fs::path("comparison.png") : runs.front().path / "report.png";
  const fs::path picture = values.has("out") ? fs::path(values.text("out")) : otherwise;
  std::fputs(describe(runs).c_str(), stdout);
  std::fflush(stdout);
  draw(folders, picture);
  std::fputs(fmt::format("\nwrote {}\n", picture.string()).c_str(), stdout);
  return 0;
}

}  // namespace lshdp::cli
