// Every command with its options, kinds of commands each by its own: for what is made of the tables.
#pragma once
#include <string>
#include <vector>

#include "lshdp/cli/options.h"

namespace lshdp::cli {

struct ListedCommand {
  std::string name;  // as it is typed: "train", "data idx"
  std::string help;  // one line
  Options options;
};

/// In the order of the help.
std::vector<ListedCommand> listed_commands();

/// What the value of an option is, as far as its placeholder tells.
enum class ValueKind : std::uint8_t { none, file, folder, other };
ValueKind value_kind(const Options::Definition& definition);

}  // namespace lshdp::cli
