// lshdp report: tables of runs on standard output, and a picture drawn by scripts/plot_results.py or a page in HTML.
#include <cstdlib>

#include <fmt/format.h>

#include "html_report.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/output.h"
#include "lshdp/core/run_program.h"
#include "run_directory.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScript = "plot_results.py";
/// Exit code of plot_results.py where matplotlib is missing.
constexpr int kNoMatplotlib = 3;

/// The folder of our scripts: $LSHDP_SCRIPTS; what lies beside the program in a build tree or where it is installed,
/// also if that was moved; the source tree that this program was built from.
fs::path scripts_folder() {
  const char* chosen = std::getenv("LSHDP_SCRIPTS");
  if (chosen != nullptr && *chosen != '\0') return chosen;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* beside : {"../scripts", "../share/lshdp/scripts"}) {
    if (fs::exists(program / beside / kScript, error)) return (program / beside).lexically_normal();
  }
  return LSHDP_SOURCE_SCRIPTS;
}

/// Python of the .venv beside the scripts or in the source tree, otherwise python3 of the PATH.
std::string python_for(const fs::path& scripts) {
  std::error_code error;
  for (const fs::path& folder : {scripts, fs::path(LSHDP_SOURCE_SCRIPTS)}) {
    const fs::path python = folder.parent_path() / ".venv" / "bin" / "python";
    if (fs::exists(python, error)) return python.string();
  }
  return "python3";
}

void draw(const std::vector<std::string>& folders, const fs::path& picture) {
  const fs::path script = scripts_folder() / kScript;
  if (!fs::exists(script)) {
    throw RunError(fmt::format("cannot draw: {} does not exist; set LSHDP_SCRIPTS to the scripts folder of lshdp",
                               script.string()));
  }
  std::vector<std::string> command{python_for(scripts_folder()), script.string(), "--out=" + picture.string(), "--"};
  command.insert(command.end(), folders.begin(), folders.end());
  const int code = run_program(command);
  if (code == kNoMatplotlib) {
    throw RunError(fmt::format("cannot draw: {} has no matplotlib; run scripts/setup.sh", command[0]));
  }
  if (code != 0) throw RunError(fmt::format("cannot draw: {} ended with exit code {}", script.string(), code));
}

void write_page(const std::vector<RunDirectory>& runs, const fs::path& page) {
  if (runs.size() > 1) throw UsageError("--html: a page tells of one run; name one, or compare several with --out");
  const NewFolders made = require_writable_file(page, "--html");
  write_file(page, html_report(runs.front()));
  print_output(describe(runs));
  print_output("\nwrote {}\n", page.string());
}

}  // namespace

Options report_options() {
  Options options("report", "Tabulates and draws runs that `lshdp train --results DIR` wrote",
                  "lshdp report runs/equal runs/auto --out comparison.png");
  options
      .option("out", "FILE.png",
              "the picture; without it, report.png in the run directory, or comparison.png in the "
              "current folder for several runs")
      .option("html", "FILE.html",
              "instead of the picture, a page of one run that a browser opens from disk: curves, a timeline of each "
              "rank, plan beside fact, configuration")
      .positionals("run", "run directories; several are compared with the first");
  options.excludes("out", "html");
  return options;
}

int run_report(const Arguments& arguments) {
  const Values values = report_options().parse(arguments);
  if (values.help()) return 0;
  const std::vector<std::string>& folders = values.texts("run");
  std::vector<RunDirectory> runs;
  for (const std::string& folder : folders) runs.push_back(read_run_directory(folder));
  if (values.has("html")) {
    write_page(runs, values.text("html"));
    return 0;
  }
  const fs::path otherwise = runs.size() > 1 ? fs::path("comparison.png") : runs.front().path / "report.png";
  const fs::path picture = values.has("out") ? fs::path(values.text("out")) : otherwise;
  const NewFolders made = require_writable_file(picture, "--out");
  print_output(describe(runs));
  draw(folders, picture);
  print_output("\nwrote {}\n", picture.string());
  return 0;
}

}  // namespace lshdp::cli
