// Walking the tables of commands and of their kinds.
#include "listed_commands.h"

#include <algorithm>
#include <string_view>

namespace lshdp::cli {

std::vector<ListedCommand> listed_commands() {
  std::vector<ListedCommand> listed;
  for (const Command& command : commands()) {
    if (command.options != nullptr) listed.push_back({command.name, command.help, command.options()});
    if (command.kinds == nullptr) continue;
    for (const Command& kind : command.kinds())
      listed.push_back({command.name + ' ' + kind.name, kind.help, kind.options()});
  }
  return listed;
}

ValueKind value_kind(const Options::Definition& definition) {
  constexpr std::string_view files[] = {"FILE", "FILE,..", "WEIGHTS", "PLACE", "MODEL", "LIST", "HOSTS"};
  const std::string& placeholder = definition.placeholder;
  if (definition.kind == Options::Kind::flag) return ValueKind::none;
  if (placeholder == "DIR") return ValueKind::folder;
  // "FILE.png", "TRAIN.h5"; positional arguments have none.
  const bool named =
      placeholder.empty() || (placeholder.find('.') != std::string::npos && !placeholder.ends_with(".."));
  return named || std::ranges::find(files, placeholder) != std::end(files) ? ValueKind::file : ValueKind::other;
}

}  // namespace lshdp::cli
