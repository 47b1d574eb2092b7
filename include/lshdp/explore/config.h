// Configurations of several files, as Hydra composes them: defaults lists, groups, overrides, interpolation.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lshdp/core/json.h"
#include "lshdp/explore/override.h"

namespace lshdp::explore {

enum class Scalars : std::uint8_t {
  typed,      // as OmegaConf types them: 1_000, 0x10, 1e3, yes, null, ~
  as_written  // text, but for null: 1e-3 stays 1e-3, and off is no boolean
};

/// The text of a YAML file as a tree. Throws UsageError "SOURCE: line L: ..." for what is no YAML, for a key that is
/// there twice, and for numbers beyond 64 bits.
Json parse_yaml(std::string_view text, const std::string& source, Scalars scalars = Scalars::typed);

struct Configuration {
  Json tree = Json::object();
  std::vector<std::filesystem::path> files = {};  // that it was composed of
};

/// Composes `name`, with or without .yaml, from the first of `folders` that has it; a name with a slash or that is the
/// path of a file brings its own folder. Its defaults list names others to begin with:
///
///   defaults:
///     - base            # another file of the same folder
///     - device: h100    # device/h100.yaml, its keys below `device`; null: none; [a, b]: several; optional device: x
///     - _self_          # this file's own keys; without it they come last
///
/// An override whose key is a folder (device=a100, +device=.., ~device) chooses from that folder; the others change
/// values. Interpolations ${key} are resolved at the end. Throws UsageError naming the file, the override or the key.
Configuration compose(const std::vector<std::filesystem::path>& folders, const std::string& name,
                      const std::vector<std::string>& overrides);
/// The same of a tree that may have a defaults list, as the file `source` would.
Configuration compose(const std::vector<std::filesystem::path>& folders, const Json& tree, const std::string& source,
                      const std::vector<std::string>& overrides);

/// Names of the configurations in `folders`/`group`, sorted.
std::vector<std::string> names_in(const std::vector<std::filesystem::path>& folders, const std::string& group);

}  // namespace lshdp::explore
