// Checkpoints: one HDF5 file per rank with the state it owns, and a manifest, written last, that makes them complete.
#pragma once
#include <cstdint>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/store.h"

namespace lshdp::train {

/// What a checkpoint says of itself beside the tensors.
struct CheckpointInfo {
  std::int64_t step = 0;  // updates done
  std::int64_t total = 0;
  std::uint64_t seed = 0;
  std::string precision;
  nlohmann::json model;  // Model::description
};

/// Writes RUN/checkpoints/step-N, then removes all but the newest `keep` complete ones (at least 1). The folder must be
/// one that all ranks see. Checkpoints of other steps are not touched before the new one is complete. All ranks must
/// call it, with a synchronized store. Throws an AgreedError on every rank if any rank could not write.
void write_checkpoint(comm::Communicator& communicator, const std::filesystem::path& run,
                      parallel::ParameterStore& store, const CheckpointInfo& info, int keep);

/// The newest complete checkpoint of a run directory, or `path` itself if it is one. Throws UsageError if there is
/// none.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

/// What the manifest says. Throws UsageError: not complete, wrong version, files missing.
CheckpointInfo read_checkpoint_info(const std::filesystem::path& checkpoint);

/// Loads values and moments, written by any number of ranks, and in fp16 the loss scale, into `store`. All ranks must
/// call it. Throws an AgreedError naming the checkpoint: damaged, elements missing.
void load_checkpoint(comm::Communicator& communicator, const std::filesystem::path& checkpoint,
                     const model::Model& model, parallel::ParameterStore& store);

}  // namespace lshdp::train
