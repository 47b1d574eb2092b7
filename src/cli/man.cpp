// lshdp man: the manual page, made of the tables of commands and options.
#include <string_view>

#include <fmt/format.h>

#include "listed_commands.h"
#include "lshdp/core/output.h"
#include "lshdp/core/version.h"

namespace lshdp::cli {
namespace {

using Definition = Options::Definition;

/// Text as roff takes it: nothing in it is a request or an escape, and a dash is the character that is typed.
std::string roff(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\')
      escaped += "\\e";
    else if (c == '-')
      escaped += "\\-";
    else if (c == '\'' && escaped.empty())
      escaped += "\\&'";
    else if (c == '~')
      escaped += "\\(ti";
    else
      escaped += c;
  }
  return escaped.starts_with('.') ? "\\&" + escaped : escaped;
}

/// A sentence of the tables begins small and has no full stop.
std::string described(const Definition& definition) {
  return definition.help + (definition.has_default ? fmt::format(" (default: {})", definition.otherwise) : "");
}

std::string option_text(const Options& options, const Definition& definition) {
  const std::string name = roff((options.is_positional(definition) ? "" : "--") + definition.name);
  const std::string value =
      definition.placeholder.empty() ? "" : fmt::format(" \\fI{}\\fR", roff(definition.placeholder));
  return fmt::format(".TP\n\\fB{}\\fR{}\n{}\n", name, value, roff(described(definition)));
}

/// --help and --log belong to every command, and are described once.
bool is_common(const Definition& definition) { return definition.name == "help" || definition.name == "log"; }

std::string command_text(const ListedCommand& command) {
  std::string text = fmt::format(".SS {0}\n{1}\n.PP\n\\fB{2}\\fR\n", roff(command.name),
                                 roff(command.options.summary()), roff(command.options.usage()));
  for (const Definition& definition : command.options.definitions()) {
    if (!is_common(definition)) text += option_text(command.options, definition);
  }
  return text + fmt::format(".PP\nExample:\n.PP\n.RS 4\n.nf\n{}\n.fi\n.RE\n", roff(command.options.example()));
}

std::string common_text(const Options& options) {
  std::string text = ".SH OPTIONS OF ALL COMMANDS\n";
  for (const Definition& definition : options.definitions()) {
    if (is_common(definition)) text += option_text(options, definition);
  }
  return text;
}

std::string page() {
  const std::vector<ListedCommand> listed = listed_commands();
  std::string text = fmt::format(
      ".\\\" Made by lshdp man.\n"
      ".TH LSHDP 1 \"\" \"{}\" \"User Commands\"\n"
      ".SH NAME\n"
      "lshdp \\- trains models on machines of unequal speed\n"
      ".SH SYNOPSIS\n"
      "\\fBlshdp\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
      ".br\n"
      "\\fBmpirun\\fR \\fB\\-np\\fR \\fIN\\fR \\fBlshdp\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
      ".SH DESCRIPTION\n"
      "Ranks that differ in speed and memory train one model with the mathematics of one machine. "
      "What each can do is measured, and each gets the part of a step that suits it.\n",
      roff(program_version()));
  text += common_text(listed.front().options) + ".SH COMMANDS\n";
  for (const ListedCommand& command : listed) text += command_text(command);
  return text +
         ".SH EXIT STATUS\n"
         ".TP\n0\nDone.\n"
         ".TP\n1\nThe run failed, or something that was asked about is not so.\n"
         ".TP\n2\nWrong usage or wrong input; the message names the option or the file, and the remedy.\n"
         ".TP\n75\nA signal ended a run in order; it can be resumed.\n"
         ".SH SEE ALSO\n\\fBmpirun\\fR(1)\n";
}

}  // namespace

Options man_options() {
  return {"man", "Prints the manual page of lshdp with every command and option.", "lshdp man | man -l -"};
}

int run_man(const Arguments& arguments) {
  const Values values = man_options().parse(arguments);
  if (!values.help()) print_output(page());
  return 0;
}

}  // namespace lshdp::cli
