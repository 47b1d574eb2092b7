// lshdp completion: functions for bash and zsh, made of the tables of commands and options.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "listed_commands.h"
#include "lshdp/core/output.h"

namespace lshdp::cli {
namespace {

using Definition = Options::Definition;

std::vector<std::string> names_of(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.name);
  return names;
}

/// "--lr --steps" of one kind of value; all where there is none named.
std::string options_of(const ListedCommand& command, std::initializer_list<ValueKind> kinds) {
  std::vector<std::string> names;
  for (const Definition& definition : command.options.definitions()) {
    const bool wanted = std::find(kinds.begin(), kinds.end(), value_kind(definition)) != kinds.end();
    if (!command.options.is_positional(definition) && (kinds.size() == 0 || wanted))
      names.push_back("--" + definition.name);
  }
  return fmt::format("{}", fmt::join(names, " "));
}

/// Completes commands, kinds, options and files. Needs bash 4 and nothing else.
std::string bash_text() {
  std::string kinds, cases;
  for (const Command& command : commands()) {
    if (command.kinds == nullptr) continue;
    kinds += fmt::format("    {}) kinds='--help {}' ;;\n", command.name, fmt::join(names_of(command.kinds()), " "));
  }
  for (const ListedCommand& command : listed_commands())
    cases += fmt::format(
        "    '{}')\n      options='{}'\n      files='{}'\n      folders='{}'\n      others='{}'\n      ;;\n",
        command.name, options_of(command, {}), options_of(command, {ValueKind::file}),
        options_of(command, {ValueKind::folder}), options_of(command, {ValueKind::other}));
  return fmt::format(R"(# Completion of lshdp for bash; made by lshdp completion bash.
_lshdp() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}}
  local kinds='' options='' files='' folders='' others=''
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '{0} help --help --version' -- "$word")
    return
  fi
  # --option=value comes as three words.
  [[ $before == '=' ]] && before=${{COMP_WORDS[COMP_CWORD - 2]}}
  if [[ $word == '=' ]]; then
    word=''
  fi
  case $command in
{1}  esac
  if [[ -n $kinds ]]; then
    if ((COMP_CWORD == 2)); then
      mapfile -t COMPREPLY < <(compgen -W "$kinds" -- "$word")
      return
    fi
    command+=" ${{COMP_WORDS[2]}}"
  fi
  case $command in
{2}    help)
      mapfile -t COMPREPLY < <(compgen -W '{0}' -- "$word")
      return
      ;;
  esac
  if [[ " $others " == *" $before "* ]]; then
    return
  fi
  if [[ " $folders " == *" $before "* ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -d -- "$word")
    return
  fi
  if [[ $word == -* && " $files " != *" $before "* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -- "$word")
}}
complete -F _lshdp lshdp
)",
                     fmt::join(names_of(commands()), " "), kinds, cases);
}

/// Within single quotes of zsh, after `special` characters have a backslash.
std::string zsh_quoted(const std::string& text, std::string_view special) {
  std::string quoted;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) quoted += '\\';
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  }
  return quoted;
}

std::string zsh_list(const std::vector<Command>& commands) {
  std::string lines;
  for (const Command& command : commands)
    lines += fmt::format("        '{}:{}'\n", zsh_quoted(command.name, ":"), zsh_quoted(command.help, ""));
  return lines;
}

const char* zsh_action(const Definition& definition) {
  switch (value_kind(definition)) {
    case ValueKind::file:
      return "_files";
    case ValueKind::folder:
      return "_files -/";
    default:
      return " ";
  }
}

/// "'--lr=[peak learning rate]:RATE: '", or of what follows the options "'*:run:_files'".
std::string zsh_argument(const Options& options, const Definition& definition) {
  constexpr std::string_view special = "[]:\\";
  if (options.is_positional(definition))
    return fmt::format("'{}:{}:_files'", options.takes_several(definition) ? "*" : "", definition.name);
  const std::string help = zsh_quoted(definition.help, special);
  if (definition.kind == Options::Kind::flag) return fmt::format("'--{}[{}]'", definition.name, help);
  return fmt::format("'--{}=[{}]:{}:{}'", definition.name, help, zsh_quoted(definition.placeholder, special),
                     zsh_action(definition));
}

std::string zsh_text() {
  std::string kinds, cases;
  for (const Command& command : commands()) {
    if (command.kinds == nullptr) continue;
    kinds += fmt::format("    {})\n      kinds=(\n{}      )\n      ;;\n", command.name, zsh_list(command.kinds()));
  }
  for (const ListedCommand& command : listed_commands()) {
    cases += fmt::format("    '{}')\n      _arguments", command.name);
    for (const Definition& definition : command.options.definitions())
      cases += " \\\n        " + zsh_argument(command.options, definition);
    cases += "\n      ;;\n";
  }
  return fmt::format(R"(#compdef lshdp
# Completion of lshdp for zsh; made by lshdp completion zsh.
_lshdp() {{
  local command=$words[2]
  local -a names kinds
  if (( CURRENT == 2 )); then
    names=(
{0}    )
    _describe command names
    return
  fi
  case $command in
{1}  esac
  shift words
  (( CURRENT-- ))
  if (( $#kinds )); then
    if (( CURRENT == 2 )); then
      _describe kind kinds
      return
    fi
    command+=" $words[2]"
    shift words
    (( CURRENT-- ))
  fi
  case $command in
{2}  esac
}}
_lshdp "$@"
)",
                     zsh_list(commands()), kinds, cases);
}

}  // namespace

Options completion_options() {
  Options options("completion", "Prints the function by which a shell completes command lines of lshdp.",
                  "source <(lshdp completion bash)");
  options.positional("shell", "bash, or zsh: as a file _lshdp in a folder of $fpath");
  return options;
}

int run_completion(const Arguments& arguments) {
  const Values values = completion_options().parse(arguments);
  if (values.help()) return 0;
  print_output(values.choice("shell", {"bash", "zsh"}) == "bash" ? bash_text() : zsh_text());
  return 0;
}

}  // namespace lshdp::cli
