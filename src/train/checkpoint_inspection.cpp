// Manifests and rank files, read without a run.
#include "lshdp/train/checkpoint_inspection.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "checkpoint_manifest.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/strategy.h"
#include "rank_file.h"
#include "settings.h"
#include "weight_average.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using State = FoundCheckpoint::State;

constexpr const char* kCheckpoints = "checkpoints";
constexpr const char* kAbandoned = "abandoned-";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// When it was written last, to the second; empty: it has gone.
std::string time_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(status.st_mtime));
}

/// Of what lies in the folder now; files may go meanwhile.
std::int64_t bytes_in(const fs::path& folder) {
  std::int64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::uintmax_t size = entry.file_size(error);
    if (!error) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

/// What sizes tell; empty: nothing is wrong.
std::string damage_by_sizes(const fs::path& folder, const Manifest& manifest) {
  for (const StoredFile& file : manifest.files) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(folder / file.name, error);
    if (error) return fmt::format("{}: {}", file.name, error.message());
    if (static_cast<std::int64_t>(size) != file.bytes)
      return fmt::format("{} has {} bytes of {}", file.name, size, file.bytes);
  }
  return "";
}

void look_at_files(FoundCheckpoint& found) {
  try {
    const Manifest manifest = read_manifest(found.folder);
    found.ranks = static_cast<std::int64_t>(manifest.files.size());
    found.step = manifest.info.step;
    found.problem = damage_by_sizes(found.folder, manifest);
  } catch (const Error& error) {
    found.problem = error.what();
  }
  found.state = found.problem.empty() ? State::complete : State::damaged;
}

FoundCheckpoint look_at(const fs::path& folder) {
  const bool finished = !is_absent(folder / kManifest);
  FoundCheckpoint found{.folder = folder,
                        .step = std::max<std::int64_t>(step_in_name(folder), 0),
                        .abandoned = {},
                        .written = time_of(finished ? folder / kManifest : folder),
                        .bytes = bytes_in(folder),
                        .state = State::unfinished,
                        .problem = {}};
  const std::string above = fs::absolute(folder).lexically_normal().parent_path().filename().string();
  if (above.starts_with(kAbandoned)) found.abandoned = above;
  if (!finished) return found;
  look_at_files(found);
  if (is_absent(folder / kManifest)) {  // removed meanwhile, by the run that it is of
    found.state = State::unfinished;
    found.problem.clear();
  }
  return found;
}

/// Folders step-N in `folder`, and in its folders abandoned-N.
std::vector<fs::path> all_folders_in(const fs::path& folder) {
  std::vector<fs::path> found = step_folders_in(folder);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!entry.path().filename().string().starts_with(kAbandoned) || !entry.is_directory(error)) continue;
    for (const fs::path& abandoned : step_folders_in(entry.path())) found.push_back(abandoned);
  }
  return found;
}

/// Compares what the files hold together with the parameters that are trained.
std::vector<std::string> damages_of_whole(const fs::path& folder, const Manifest& manifest) {
  std::vector<std::string> damages;
  ElementRuns runs;
  for (const StoredFile& file : manifest.files) {
    for (const auto& [parameter, held] : runs_in_rank_file(folder / file.name))
      runs[parameter].insert(runs[parameter].end(), held.begin(), held.end());
  }
  const model::Model model = model::make_model_from_json(manifest.info.model, folder.string());
  const bool averages = holds_averages(manifest.info);
  for (const auto& block : model.blocks) {
    for (const model::Parameter& parameter : block->parameters()) {
      if (!parameter.trainable) continue;
      std::vector<std::string> names{parameter.name};
      if (averages) names.push_back(name_of_average(parameter.name));
      for (const std::string& name : names) {
        const std::string gap = gap_in(runs[name], {0, parameter.count()});
        if (!gap.empty()) damages.push_back(fmt::format("{}: {}: {}", folder.string(), name, gap));
        runs.erase(name);
      }
    }
  }
  for (const auto& [name, unknown] : runs)
    damages.push_back(fmt::format("{}: {} is no parameter that its model trains", folder.string(), name));
  return damages;
}

/// Runs `check`; what it throws becomes one more damage.
template <typename Check>
void gather(std::vector<std::string>& damages, const Check& check) {
  try {
    check();
  } catch (const std::exception& error) {
    damages.push_back(explain(error));
  }
}

}  // namespace

std::string to_text(State state) {
  return state == State::complete ? "complete" : state == State::damaged ? "damaged" : "unfinished";
}

std::vector<FoundCheckpoint> list_checkpoints(const fs::path& run, const std::string& option) {
  if (!is_there(run)) throw UsageError(fmt::format("{}: there is no {}", option, run.string()));
  const bool known = is_there(run / "run.json") || is_there(run / "metrics.jsonl") || !is_absent(run / kCheckpoints);
  if (!known)
    throw UsageError(fmt::format("{}: {} is no run directory, which holds {}", option, run.string(), kCheckpoints));
  std::vector<FoundCheckpoint> found;
  for (const fs::path& folder : all_folders_in(run / kCheckpoints)) {
    FoundCheckpoint one = look_at(folder);
    if (!is_absent(folder)) found.push_back(std::move(one));
  }
  std::ranges::sort(found, [](const FoundCheckpoint& a, const FoundCheckpoint& b) {
    return std::tuple(a.abandoned.empty(), a.abandoned, a.step) < std::tuple(b.abandoned.empty(), b.abandoned, b.step);
  });
  return found;
}

std::vector<FoundCheckpoint> checkpoints_at(const fs::path& path, const std::string& option) {
  if (is_there(path / kManifest)) return {look_at(path)};
  if (step_in_name(path) >= 0 && is_there(path))
    throw UsageError(fmt::format("{}: {} was never finished: it has no {}", option, path.string(), kManifest));
  std::vector<FoundCheckpoint> found = list_checkpoints(path, option);
  if (std::ranges::all_of(found, [](const auto& one) { return one.state == State::unfinished; }))
    throw UsageError(fmt::format("{}: {} holds no finished checkpoint", option, path.string()));
  return found;
}

FoundCheckpoint newest_checkpoint_at(const fs::path& path, const std::string& option) {
  std::vector<FoundCheckpoint> found = checkpoints_at(path, option);
  if (found.size() == 1) return found.front();
  std::erase_if(found, [](const auto& one) { return one.state == State::unfinished || !one.abandoned.empty(); });
  if (found.empty())
    throw UsageError(fmt::format("{}: all checkpoints of {} are abandoned; name one of them", option, path.string()));
  return found.back();
}

Json describe_checkpoint(const FoundCheckpoint& checkpoint) {
  const Manifest manifest = read_manifest(checkpoint.folder);
  const CheckpointInfo& info = manifest.info;
  Json files = Json::array();
  std::int64_t bytes = 0;
  for (const StoredFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"checksum", file.checksum}});
    bytes += file.bytes;
  }
  Json json{{"version", 1},
            {"checkpoint", checkpoint.folder.string()},
            {"written", checkpoint.written},
            {"step", info.step},
            {"total", info.total},
            {"seed", info.seed},
            {"model", info.model},
            {"training", info.training},
            {"data", info.data},
            {"program", info.program},
            {"bytes", bytes},
            {"files", files}};
  json.update(plan::to_json(info.strategy));
  if (manifest.loss_scale) json["loss_scale"] = manifest.loss_scale->scale;
  return json;
}

std::vector<std::string> verify_checkpoint(const FoundCheckpoint& checkpoint,
                                           const std::function<void(std::int64_t)>& done) {
  std::vector<std::string> damages;
  std::optional<Manifest> manifest;
  gather(damages, [&] { manifest = read_manifest(checkpoint.folder); });
  if (!manifest) return damages;
  std::int64_t bytes = 0;
  for (const StoredFile& file : manifest->files) {
    gather(damages, [&] { require_intact(checkpoint.folder, *manifest, file); });
    done(bytes += file.bytes);
  }
  if (!damages.empty()) return damages;  // what they hold says nothing
  gather(damages, [&] {
    for (std::string& damage : damages_of_whole(checkpoint.folder, *manifest)) damages.push_back(std::move(damage));
  });
  return damages;
}

bool is_still_there(const FoundCheckpoint& checkpoint) { return is_there(checkpoint.folder / kManifest); }

}  // namespace lshdp::train
