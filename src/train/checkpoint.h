// Checkpoints: one HDF5 file per rank with the state it owns, and a manifest, written last, that makes them complete.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/store.h"

namespace lshdp::train {

/// What a checkpoint says of itself beside the tensors.
struct CheckpointInfo {
  std::int64_t step = 0;  // updates done
  std::int64_t total = 0;
  std::uint64_t seed = 0;
  plan::Strategy strategy;   // it may go on with another, but for precision and wire
  nlohmann::json model;      // Model::description
  nlohmann::json training;   // whatever else decides about the mathematics: {"--lr": 0.001, ...}
  nlohmann::json data;       // data::to_json(DatasetIdentity), with "path"; null: not known
  std::string program = {};  // "lshdp 0.1.0"
};

/// The newest complete checkpoint of a run directory, or `path` itself if it is one. Throws UsageError if there is
/// none. The contents of rank files are not looked at.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

/// The same; none where there is none.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& path);

/// The run directory of RUN/checkpoints/step-N.
std::filesystem::path run_of(const std::filesystem::path& checkpoint);

/// As find_checkpoint, for all ranks together, which read every file and compare it with what was written. In a run
/// directory a damaged checkpoint is passed over with a warning that names the file, and the one before it is taken.
/// Throws an AgreedError where no good one is left, with what is wrong with each, or a file of the newest cannot be
/// read at all; for a checkpoint that was named itself, with the good one before it.
std::filesystem::path find_good_checkpoint(comm::Communicator& communicator, const std::filesystem::path& path);

/// What the manifest says. Throws UsageError: not complete, damaged, another version.
CheckpointInfo read_checkpoint_info(const std::filesystem::path& checkpoint);

/// Loads values and moments, written by any number of ranks, and in fp16 the loss scale, into `store`. All ranks must
/// call it. Throws an AgreedError naming the file: damaged, of another step, elements missing.
void load_checkpoint(comm::Communicator& communicator, const std::filesystem::path& checkpoint,
                     parallel::StateAccess& store);

/// All parameters of a checkpoint, on the host, float64 if it was written so and float32 otherwise. Throws UsageError.
model::Values read_checkpoint_values(const std::filesystem::path& checkpoint, const model::Model& model);

/// A run goes on after `step`: its checkpoints of later steps, and metrics.jsonl as it is, go to
/// RUN/checkpoints/abandoned-1 (or -2, ...), so that no later resume takes them for the newest. Returns that folder;
/// empty if there was none to move. Throws WriteError.
std::filesystem::path abandon_later_checkpoints(const std::filesystem::path& run, std::int64_t step);

}  // namespace lshdp::train
