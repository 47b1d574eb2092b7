// Writing and reading manifests, and comparing files with them.
#include "checkpoint_manifest.h"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "lshdp/core/checksum.h"
#include "lshdp/core/file.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 3;
constexpr const char* kChecksum = "checksum";

/// Only fp16 has a loss scale; without it, such a run would not go on as if it had never stopped.
bool scales_loss(const CheckpointInfo& info) { return info.strategy.precision == plan::Precision::fp16; }

/// Of everything else in the manifest; keys are sorted, numbers are written so that they read back the same.
std::string checksum_of(Json manifest) {
  manifest.erase(kChecksum);
  Checksum checksum;
  const std::string text = json_text(manifest);
  checksum.add(std::as_bytes(std::span(text)));
  return checksum.text();
}

parallel::LossScale loss_scale_from_json(const Json& json, const std::string& source) {
  return {.scale = json_value<double>(json, "scale", source),
          .good_steps = json_value<std::int64_t>(json, "good_steps", source),
          .skipped_steps = json_value<std::int64_t>(json, "skipped_steps", source)};
}

CheckpointInfo info_from_json(const Json& json, const std::string& source) {
  return {.step = json_value<std::int64_t>(json, "step", source),
          .total = json_value<std::int64_t>(json, "total", source),
          .seed = json_value<std::uint64_t>(json, "seed", source),
          .strategy = plan::strategy_from_json(json, source),
          .model = json_value<Json>(json, "model", source),
          .training = json_value<Json>(json, "training", source),
          .data = json_value<Json>(json, "data", source),
          .program = json_value<std::string>(json, "program", source)};
}

void require_our_version(const Json& json, const std::string& source) {
  const int version = json_value<int>(json, "version", source);
  if (version == kVersion) return;
  if (version < kVersion) {
    throw UsageError(
        fmt::format("{} is of version {}, whose state is not keyed by the names of parameters; continue it with the "
                    "lshdp that wrote "
                    "it, or train anew from its weights, exported with that program",
                    source, version));
  }
  throw UsageError(fmt::format("{} is of version {}, which a later lshdp wrote; this one reads version {}", source,
                               version, kVersion));
}

/// Whether this process cannot open the file for reasons of its own: another user or a later time may.
bool is_refused_to_us(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return errno == EACCES || errno == EPERM || errno == EMFILE || errno == ENFILE || errno == ENOMEM;
  ::close(descriptor);
  return false;
}

/// What `read` says of the file. That it cannot be read is damage, unless that lies with this process.
template <typename Read>
auto read_of(const fs::path& path, const Read& read) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  if (!error && fs::exists(fs::file_status(type)) && type != fs::file_type::regular)
    throw DamagedCheckpoint(path.string() + " is damaged: it is not a file");
  try {
    return read(path);
  } catch (const UsageError& problem) {
    if (is_refused_to_us(path)) throw RunError(problem.what());
    throw DamagedCheckpoint(problem.what());
  }
}

/// Whether the manifest is there, or may be.
bool has_manifest(const fs::path& checkpoint) {
  std::error_code error;
  return !is_absent(checkpoint / kManifest) && fs::is_directory(checkpoint, error);
}

Json parse_manifest(const std::string& text, const fs::path& path) {
  try {
    return parse_json(text, path.string());
  } catch (const UsageError&) {
    throw DamagedCheckpoint(
        fmt::format("{} is {}", path.string(), text.empty() ? "empty" : "damaged: it is no whole JSON"));
  }
}

/// Which file of which checkpoint beside this one has that content; empty: none.
std::string origin_of(const fs::path& checkpoint, const std::string& checksum) {
  for (const auto& [step, folder] : checkpoints_of(run_of(checkpoint))) {
    try {
      for (const StoredFile& file : read_manifest(folder).files) {
        if (file.checksum == checksum) return fmt::format("{} of step {}", file.name, step);
      }
    } catch (const Error&) {
      continue;  // its own damage is not asked about here
    }
  }
  return "";
}

}  // namespace

StoredFile describe_file(const fs::path& path) {
  const std::string checksum = checksum_of_file(path);
  return {path.filename().string(), static_cast<std::int64_t>(fs::file_size(path)), checksum};
}

Json to_json(const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  Json files = Json::array(), contents = Json::object();
  for (const StoredFile& file : manifest.files) {
    files.push_back(file.name);
    contents[file.name] = {{"bytes", file.bytes}, {"checksum", file.checksum}};
  }
  Json json{{"version", kVersion}, {"program", info.program}, {"step", info.step},         {"total", info.total},
            {"seed", info.seed},   {"model", info.model},     {"training", info.training}, {"data", info.data},
            {"files", files},      {"contents", contents}};
  json.update(plan::to_json(info.strategy));
  if (scales_loss(info)) {
    const parallel::LossScale scale = manifest.loss_scale.value_or(parallel::LossScale{});
    json["loss_scale"] = {
        {"scale", scale.scale}, {"good_steps", scale.good_steps}, {"skipped_steps", scale.skipped_steps}};
  }
  json[kChecksum] = checksum_of(json);
  return json;
}

Manifest read_manifest(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kManifest;
  const std::string source = path.string();
  const std::string text = read_of(path, read_file);
  const Json json = parse_manifest(text, path);
  if (json.is_object() && json.contains("version")) require_our_version(json, source);
  // What parses to the same values may be damaged, too: the text is what write_json() writes.
  if (!json.is_object() || json.value(kChecksum, Json()) != checksum_of(json) || text != json_text(json, 2) + "\n")
    throw DamagedCheckpoint(source + " is damaged: it is not what was written");
  Manifest manifest{.info = info_from_json(json, source), .files = {}, .loss_scale = {}};
  if (const std::int64_t named = step_in_name(checkpoint); named >= 0 && named != manifest.info.step)
    throw DamagedCheckpoint(
        fmt::format("{} is in the wrong place: it is the checkpoint of step {}", source, manifest.info.step));
  const Json contents = json_value<Json>(json, "contents", source);
  for (const auto& name : json_value<std::vector<std::string>>(json, "files", source)) {
    if (name.empty() || fs::path(name).filename() != name || name == "." || name == "..")
      throw UsageError(fmt::format("{}: files: '{}' is not the name of a file beside it", source, printable(name)));
    const Json file = json_value<Json>(contents, name, source);
    manifest.files.push_back({name, json_value<std::int64_t>(file, "bytes", source + ": " + name),
                              json_value<std::string>(file, "checksum", source + ": " + name)});
  }
  if (scales_loss(manifest.info))
    manifest.loss_scale = loss_scale_from_json(json_value<Json>(json, "loss_scale", source), source + ": loss_scale");
  return manifest;
}

void require_intact(const fs::path& checkpoint, const Manifest& manifest, const StoredFile& file) {
  const fs::path path = checkpoint / file.name;
  std::error_code error;
  if (!fs::exists(path, error) && !error) {
    throw DamagedCheckpoint(
        fmt::format("{} is missing; every rank must see the folder it was written to", path.string()));
  }
  const StoredFile found = read_of(path, describe_file);
  if (found.checksum == file.checksum) return;
  if (const std::string origin = origin_of(checkpoint, found.checksum); !origin.empty()) {
    throw DamagedCheckpoint(fmt::format("{} is in the wrong place: it is {}, not {} of step {}", path.string(), origin,
                                        file.name, manifest.info.step));
  }
  if (found.bytes < file.bytes) {
    throw DamagedCheckpoint(fmt::format("{} is cut off: {} bytes of {}", path.string(), format_count(found.bytes),
                                        format_count(file.bytes)));
  }
  throw DamagedCheckpoint(path.string() + " is damaged: it is not what was written");
}

bool is_absent(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() == fs::file_type::not_found;
}

fs::path run_of(const fs::path& checkpoint) {
  fs::path folder = fs::absolute(checkpoint).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  const bool abandoned = folder.parent_path().filename().string().starts_with("abandoned-");
  return (abandoned ? folder.parent_path() : folder).parent_path().parent_path();
}

fs::path checkpoint_folder(const fs::path& run, std::int64_t step) {
  return run / "checkpoints" / fmt::format("step-{}", step);
}

std::int64_t step_in_name(const fs::path& folder) {
  const fs::path whole = fs::absolute(folder).lexically_normal();
  const std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  if (!name.starts_with("step-")) return -1;
  const std::string digits = name.substr(5);
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

std::vector<fs::path> step_folders_in(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (step_in_name(entry->path()) >= 0) found.push_back(entry->path());
  }
  if (error && !is_absent(folder))
    throw RunError(fmt::format("cannot look into {}: {}", folder.string(), error.message()));
  return found;
}

std::map<std::int64_t, fs::path> checkpoints_of(const fs::path& run) {
  std::map<std::int64_t, fs::path> found;
  for (const fs::path& folder : step_folders_in(run / "checkpoints")) {
    if (has_manifest(folder)) found.emplace(step_in_name(folder), folder);
  }
  return found;
}

std::vector<fs::path> unfinished_checkpoints_of(const fs::path& run) {
  std::vector<fs::path> found = step_folders_in(run / "checkpoints");
  std::erase_if(found, has_manifest);
  return found;
}

}  // namespace lshdp::train
