// `lshdp explore` without its command line.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "lshdp/explore/ranking.h"

namespace lshdp::explore {

struct ExploreRequest {
  std::vector<std::filesystem::path> folders = {};  // of configurations, the first that has one counts
  std::string config_name = {};                     // a name or a path; or
  std::filesystem::path hugging_face = {};          // a config.json, or the folder that holds it
  std::vector<std::string> overrides = {};
  std::size_t top = 10;
  RankBy by = RankBy::memory;
  std::filesystem::path csv = {}, json = {}, trace = {};  // empty: not written
};

/// Composes the configuration, searches, writes the files that are asked for, and returns what to print. Throws
/// UsageError for what the configuration lacks or holds too much, and where no layout is possible.
std::string explore(const ExploreRequest& request);

}  // namespace lshdp::explore
