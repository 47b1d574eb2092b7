// Weights in files, for all ranks: each reads its own copy where it has one, else rank 0 sends what it reads.
#pragma once
#include <filesystem>
#include <string>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/placement.h"

namespace lshdp::train {

/// What values are read from. Either may be empty.
struct WeightFiles {
  std::filesystem::path init;     // as find_saved_model() takes it
  std::filesystem::path adapter;  // as find_saved_adapter() takes it
};

/// The checksums of these files. Throws UsageError where they are not there.
std::string identity_of(const WeightFiles& files);

/// `values`, which read `files`, on all ranks. Where every rank has files with the contents of rank 0's, each reads the
/// blocks that it holds (all without a placement), and nothing travels; else rank 0 reads all and sends them. Every
/// call of what it returns is collective; an Error becomes an AgreedError. All ranks must call it; what is given must
/// outlive what it returns.
model::BlockValues values_on_all_ranks(comm::Communicator& communicator, const model::Model& model,
                                       const parallel::Placement* placement, const model::BlockValues& values,
                                       const WeightFiles& files);

}  // namespace lshdp::train
