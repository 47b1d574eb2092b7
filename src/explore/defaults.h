// The defaults list of a configuration file.
#pragma once
#include <string>
#include <vector>

#include "lshdp/core/json.h"

namespace lshdp::explore {

/// One entry: a file of the same group, or one or several options of a group.
struct DefaultEntry {
  bool is_self = false;
  bool optional = false;
  std::string group = {};    // "device", absolute with a slash at its beginning; empty: a file of this group
  std::string package = {};  // of group@package; empty: the group's
  std::vector<std::string> options = {};  // none: null
};

/// The entries of `defaults`, with _self_ last where it is not named. Throws UsageError.
std::vector<DefaultEntry> read_defaults(const Json& defaults, const std::string& source);

}  // namespace lshdp::explore
