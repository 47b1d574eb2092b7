// lshdp diagram: a layout as a picture by Graphviz, or as text for Graphviz or Mermaid.
#include "lshdp/plan/diagram.h"

#include <optional>

#include <fmt/format.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/output.h"
#include "lshdp/core/run_program.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

}  // namespace

Options diagram_options() {
  Options options("diagram", "Draws which rank has which blocks of the model, and what goes between ranks",
                  "lshdp diagram layout.json --profile profile.json --out layout.svg");
  options.positional("layout", "the layout.json")
      .option("profile", "FILE", "the profile.json it was planned from: for hosts, bytes, and ranks that are left out")
      .required("out", "FILE",
                "the picture: .svg, .png or .pdf, which needs Graphviz; or its text: .dot or .mmd (Mermaid)");
  return options;
}

namespace {

/// "svg" of "layout.svg". Throws UsageError where it is none that can be drawn.
std::string form_of(const fs::path& out) {
  const std::string extension = out.extension().string();
  const std::string form = extension.empty() ? "" : extension.substr(1);
  for (const char* known : {"svg", "png", "pdf", "dot", "mmd"}) {
    if (form == known) return form;
  }
  throw UsageError(fmt::format("--out: {} must end with .svg, .png, .pdf, .dot or .mmd", out.string()));
}

bool needs_graphviz(const std::string& form) { return form != "dot" && form != "mmd"; }

void require_graphviz(const std::string& form) {
  if (!needs_graphviz(form) || find_program("dot")) return;
  throw UsageError(fmt::format(
      "--out: .{} needs Graphviz, whose program dot is not in PATH; apt install graphviz, or write .dot or .mmd",
      form));
}

void draw(const std::string& dot, const std::string& form, const fs::path& out) {
  fs::path temporary = out;
  temporary += ".tmp";
  const int code = run_program({"dot", "-T" + form, "-o" + temporary.string()}, dot);
  if (code == 0) return commit_file(temporary, out);
  std::error_code error;
  fs::remove(temporary, error);
  throw RunError(fmt::format("cannot draw {}: dot of Graphviz ended with exit code {}", out.string(), code));
}

}  // namespace

int run_diagram(const Arguments& arguments) {
  const Values values = diagram_options().parse(arguments);
  if (values.help()) return 0;
  const fs::path out = values.text("out");
  const std::string form = form_of(out);
  require_graphviz(form);
  refuse_overwriting("--out", out, {values.text("layout"), values.has("profile") ? values.text("profile") : ""});
  const NewFolders made = require_writable_file(out, "--out");
  const plan::Layout layout = plan::read_layout(values.text("layout"));
  std::optional<plan::Profile> profile;
  if (values.has("profile")) {
    profile = plan::read_profile(values.text("profile"));
    plan::require_of_layout(*profile, layout, values.text("profile"));
  }
  const plan::Profile* known = profile ? &*profile : nullptr;
  if (form == "mmd") {
    write_file(out, plan::mermaid_diagram(layout, known));
  } else if (form == "dot") {
    write_file(out, plan::dot_diagram(layout, known));
  } else {
    draw(plan::dot_diagram(layout, known), form, out);
  }
  print_output("wrote {}\n", out.string());
  return 0;
}

}  // namespace lshdp::cli
