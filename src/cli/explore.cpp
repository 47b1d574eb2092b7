// lshdp explore: layouts of a model over devices that nobody has rented yet.
#include "lshdp/explore/explore.h"

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/output.h"
#include "lshdp/explore/config.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

/// configs/explore of: $LSHDP_CONFIGS; the current folder; where the program was built or installed, also if that was
/// moved; the source tree that it was built from. Only those that are there.
std::vector<fs::path> configuration_folders() {
  std::error_code error;
  std::vector<fs::path> folders;
  const auto add = [&](const fs::path& configs) {
    const fs::path folder = (configs / "explore").lexically_normal();
    if (fs::is_directory(folder, error) && (folders.empty() || !fs::equivalent(folder, folders.back(), error)))
      folders.push_back(folder);
  };
  const char* chosen = std::getenv("LSHDP_CONFIGS");
  if (chosen != nullptr && *chosen != '\0') add(chosen);
  add("configs");
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* beside : {"../configs", "../share/lshdp/configs"}) add(program / beside);
  if (folders.empty()) add(LSHDP_SOURCE_CONFIGS);
  return folders;
}

explore::ExploreRequest request_of(const Values& values) {
  explore::ExploreRequest request{.folders = configuration_folders()};
  if (values.has("config-name")) request.config_name = values.text("config-name");
  if (values.has("model")) request.hugging_face = values.text("model");
  if (request.config_name.empty() && request.hugging_face.empty())
    throw UsageError(fmt::format("--config-name is missing: one of {}, or the path of a file; or give --model",
                                 fmt::join(explore::names_in(request.folders, ""), ", ")));
  if (values.has("override")) request.overrides = values.texts("override");
  request.top = static_cast<std::size_t>(values.integer("top", 0, 1000));
  const std::string by = values.choice("by", {"memory", "gpus", "time"});
  request.by = by == "gpus" ? explore::RankBy::devices : by == "time" ? explore::RankBy::time : explore::RankBy::memory;
  if (values.has("csv")) request.csv = values.text("csv");
  if (values.has("json")) request.json = values.text("json");
  if (values.has("trace")) request.trace = values.text("trace");
  return request;
}

}  // namespace

Options explore_options() {
  Options options(
      "explore", "Finds the layouts of a model over devices, and the memory and time that each takes; docs/explore.md",
      "lshdp explore --config-name llama3.1-405b +ngpus_range='[1024,2048]' device=h100-80gb --top 5 --by gpus");
  options.option("config-name", "NAME", "configuration: a file of configs/explore, or a path")
      .option("model", "FILE", "instead: a config.json of Hugging Face, or its folder")
      .option("top", "K", "how many layouts to show", "10")
      .option("by", "WHAT", "which come first: memory (the least), gpus (the fewest) or time (the shortest step)",
              "memory")
      .option("csv", "FILE", "where to write every layout that is possible")
      .option("json", "FILE", "where to write what is shown, with the memory of each stage")
      .option("trace", "FILE", "where to write the simulated step of the first layout, as Chrome trace events")
      .optional_positionals("override", "as Hydra takes them: key=value, +key=value, ++key=value, ~key")
      .excludes("config-name", "model");
  return options;
}

int run_explore(const Arguments& arguments) {
  const Values values = explore_options().parse(arguments);
  if (values.help()) return 0;
  print_output(explore::explore(request_of(values)));
  return 0;
}

}  // namespace lshdp::cli
