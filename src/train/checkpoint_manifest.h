// The manifest of a checkpoint: what it is of, and what its files must hold.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/parallel/loss_scaler.h"

namespace lshdp::train {

inline constexpr const char* kManifest = "manifest.json";

/// A rank's file as it was written.
struct StoredFile {
  std::string name;
  std::int64_t bytes = 0;
  std::string checksum;
};

struct Manifest {
  CheckpointInfo info;
  std::vector<StoredFile> files;                  // by rank
  std::optional<parallel::LossScale> loss_scale;  // fp16
};

/// A checkpoint that is not what was written: another one may be taken in its place.
class DamagedCheckpoint : public UsageError {
 public:
  using UsageError::UsageError;
};

/// The file's name, bytes and checksum. Throws UsageError.
StoredFile describe_file(const std::filesystem::path& path);

/// version 3; with a checksum of itself.
Json to_json(const Manifest& manifest);

/// Throws DamagedCheckpoint (empty, cut, changed, in the folder of another step, or the system cannot read it),
/// RunError (no permission to read it, too many open files), UsageError (another version).
Manifest read_manifest(const std::filesystem::path& checkpoint);

/// Throws DamagedCheckpoint naming the file if it is missing, cut, changed, another checkpoint's, or the system cannot
/// read it; RunError as read_manifest().
void require_intact(const std::filesystem::path& checkpoint, const Manifest& manifest, const StoredFile& file);

/// That nothing of this name is there, not even what cannot be looked at or a link to nothing.
bool is_absent(const std::filesystem::path& path);

/// RUN/checkpoints/step-N.
std::filesystem::path checkpoint_folder(const std::filesystem::path& run, std::int64_t step);

/// N of a folder "step-N"; -1 of anything else.
std::int64_t step_in_name(const std::filesystem::path& folder);

/// Folders step-N in `folder`, which need not be there. Throws RunError where it cannot be looked into, or is a link to
/// nothing: checkpoints may be there that cannot be seen.
std::vector<std::filesystem::path> step_folders_in(const std::filesystem::path& folder);

/// Folders RUN/checkpoints/step-N with a manifest, by step. Throws as step_folders_in().
std::map<std::int64_t, std::filesystem::path> checkpoints_of(const std::filesystem::path& run);

/// Those without a manifest, as a run that was killed leaves them.
std::vector<std::filesystem::path> unfinished_checkpoints_of(const std::filesystem::path& run);

}  // namespace lshdp::train
