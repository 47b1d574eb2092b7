// Checkpoints seen from outside a run: which a run directory holds, what one says of itself, whether it is whole.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace lshdp::train {

/// A folder of a checkpoint, by its manifest and the sizes of its files.
struct FoundCheckpoint {
  enum class State : std::uint8_t {
    complete,
    damaged,    // its manifest, or a file is missing or of another size
    unfinished  // no manifest: it is being written, or a run that was killed left it
  };
  std::filesystem::path folder;
  std::int64_t step = 0;  // by the folder's name; 0 where the name tells none
  std::string abandoned;  // "abandoned-1": a run went back to an earlier step; empty: no run did
  std::string written;    // when, in UTC, "2026-11-27T05:39:47Z"; of an unfinished one, when its folder changed last
  std::int64_t bytes = 0;
  std::int64_t ranks = 0;  // that wrote it; 0 where no manifest says so
  State state = State::complete;
  std::string problem;  // of a damaged one, in one line
};

std::string to_text(FoundCheckpoint::State state);

/// The checkpoints of a run directory, abandoned ones first, each group by step. Throws UsageError naming `option`
/// where `run` is no folder of a run.
std::vector<FoundCheckpoint> list_checkpoints(const std::filesystem::path& run, const std::string& option);

/// `path` itself if it is a checkpoint's folder, else all that list_checkpoints() finds. Throws UsageError naming
/// `option` where there is no complete or damaged one.
std::vector<FoundCheckpoint> checkpoints_at(const std::filesystem::path& path, const std::string& option);

/// As checkpoints_at, the newest one that is not abandoned.
FoundCheckpoint newest_checkpoint_at(const std::filesystem::path& path, const std::string& option);

/// What the manifest says, version 1: {"version", "checkpoint", "written", "step", "total", "seed", "model", "mode" and
/// what else the strategy holds, "training", "data", "program", "loss_scale" (fp16), "bytes", "files": [{"name",
/// "bytes", "checksum"}]}. Throws UsageError: damaged, of another version.
nlohmann::json describe_checkpoint(const FoundCheckpoint& checkpoint);

/// Reads every file and returns all that is wrong, a line each; empty: nothing is. Compared are checksums, and of files
/// that are intact whether together they hold each element of each trained parameter once, with its moments. `done`
/// hears of the bytes read so far.
std::vector<std::string> verify_checkpoint(const FoundCheckpoint& checkpoint,
                                           const std::function<void(std::int64_t bytes)>& done);

/// False: the run has removed it since, as it does with old ones.
bool is_still_there(const FoundCheckpoint& checkpoint);

}  // namespace lshdp::train
