// Reading and writing of run.json.
#include "lshdp/train/run_file.h"

#include "lshdp/core/json.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;

Json read_run_file(const fs::path& path) {
  Json json = read_json(path);
  require_version(json, kVersion, path.string());
  json_value<std::vector<Json>>(json, "resumes", path.string());
  return json;
}

}  // namespace

void write_run_file(const fs::path& run, const Json& launch, bool resumed) {
  const fs::path path = run / "run.json";
  Json json = launch;
  if (resumed && fs::exists(path)) {
    json = read_run_file(path);
    json["resumes"].push_back(launch);
  } else {
    json["version"] = kVersion;
    json["resumes"] = Json::array();
  }
  write_json(path, json);
}

Json read_last_launch(const fs::path& run) {
  const fs::path path = run / "run.json";
  if (!fs::exists(path)) return {};
  const Json json = read_run_file(path);
  return json["resumes"].empty() ? json : json["resumes"].back();
}

}  // namespace lshdp::train
