// run.json: the whole configuration of a run, and of each time it was resumed.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace lshdp::train {

/// How the program was called.
struct Invocation {
  std::vector<std::string> command;  // as typed
  nlohmann::json options;            // every option of the command, given or by default
  std::string program;               // "lshdp 0.1.0"
};

/// Writes RUN/run.json, version 1: {"version", ...launch, "resumes": []}. A `resumed` run whose folder has one appends
/// `launch` to its "resumes". Throws WriteError, or UsageError if the file there is damaged.
void write_run_file(const std::filesystem::path& run, const nlohmann::json& launch, bool resumed);

/// The newest launch that RUN/run.json tells of: of the last resume, or the first; null if there is no such file.
/// Throws UsageError if it is damaged.
nlohmann::json read_last_launch(const std::filesystem::path& run);

}  // namespace lshdp::train
