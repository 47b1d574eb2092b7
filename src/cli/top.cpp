// lshdp top: a live view of a run on the terminal.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/output.h"
#include "terminal_screen.h"
#include "top_view.h"

namespace lshdp::cli {
namespace {

void print_once(RunFollower& follower, const std::string& name) {
  print_output("{}\n", fmt::to_string(fmt::join(top_view(name, follower.look(), {}), "\n")));
}

void watch(RunFollower& follower, const std::string& name, double interval) {
  const TerminalScreen screen;
  while (true) {
    ViewSize size = screen.size();
    size.rows -= size.rows > 2 ? 1 : 0;
    std::vector<std::string> lines = top_view(name, follower.look(), size);
    lines.push_back("q ends the view; the run goes on");
    screen.show(lines);
    const char key = screen.wait_key(interval).value_or('\0');
    if (key == 'q' || key == 'Q' || key == TerminalScreen::kEnd) return;
  }
}

}  // namespace

Options top_options() {
  Options options("top",
                  "Shows a run while it trains: step, loss, time left; of every rank computing, waiting, batch, memory "
                  "and link. Ends with q or Ctrl-C.",
                  "lshdp top runs/vit");
  options.positional("run", "the run directory (train --results), also on another machine that sees it")
      .option("interval", "SECONDS", "time between two looks", "1")
      .flag("once", "print what is known now and end, as without a terminal");
  return options;
}

int run_top(const Arguments& arguments) {
  const Values values = top_options().parse(arguments);
  if (values.help()) return 0;
  const double interval = values.real("interval", 0.1, 3600);
  const std::string& folder = values.text("run");
  RunFollower follower(folder);
  if (values.flag("once") || !has_terminal())
    print_once(follower, folder);
  else
    watch(follower, folder, interval);
  return 0;
}

}  // namespace lshdp::cli
