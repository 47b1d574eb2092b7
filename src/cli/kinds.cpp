// Choosing a kind of a command.
#include "kinds.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"

namespace lshdp::cli {
namespace {

std::string overview(const Kinds& kinds) {
  Table table({"Kinds", ""});
  for (const Command& kind : kinds.kinds) table.add({"  " + kind.name, kind.help});
  return fmt::format(
      "{1}\n\nUsage: lshdp {0} KIND [options]\n\n{2}\nExample:\n  {3}\n\n"
      "lshdp {0} KIND --help explains a kind and gives an example.\n",
      kinds.command, kinds.summary, table.to_string(), kinds.example);
}

}  // namespace

int run_kind(const Kinds& kinds, const Arguments& arguments) {
  std::vector<std::string> names;
  for (const Command& kind : kinds.kinds) names.push_back(kind.name);
  if (arguments.size() < 2)
    throw UsageError(fmt::format("the kind is missing; choose from {}", fmt::join(names, ", ")));
  if (arguments[1] == "--help" || arguments[1] == "-h") {
    print_output(overview(kinds));
    return 0;
  }
  for (const Command& kind : kinds.kinds) {
    if (kind.name == arguments[1]) return kind.run(Arguments(arguments.begin() + 1, arguments.end()));
  }
  throw UsageError(fmt::format("unknown kind '{}'; choose from {}{}", arguments[1], fmt::join(names, ", "),
                               did_you_mean(arguments[1], names)));
}

}  // namespace lshdp::cli
