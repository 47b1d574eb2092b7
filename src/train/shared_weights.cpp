// Comparing files over ranks before values travel.
#include "lshdp/train/shared_weights.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/model/peft.h"
#include "lshdp/parallel/shared_values.h"
#include "lshdp/train/saved_adapter.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::train {
namespace {

/// A checkpoint is read whole, which not every rank has room for.
bool are_read_by_block(const WeightFiles& files) {
  return files.init.empty() || find_saved_model(files.init, "--init").kind != SavedModel::Kind::checkpoint;
}

/// Of this rank; empty: it cannot read them.
std::string identity_here(const WeightFiles& files) {
  try {
    return are_read_by_block(files) ? identity_of(files) : "";
  } catch (const Error&) {
    return "";
  }
}

bool all_have_the_same(comm::Communicator& communicator, const WeightFiles& files) {
  const std::vector<std::string> found = comm::all_gather_text(communicator, identity_here(files));
  return !found.front().empty() &&
         std::ranges::all_of(found, [&](const std::string& one) { return one == found.front(); });
}

}  // namespace

std::string identity_of(const WeightFiles& files) {
  std::string identity = files.init.empty() ? "" : identity_of_weights(find_saved_model(files.init, "--init"));
  if (files.adapter.empty()) return identity;
  const SavedAdapter adapter = find_saved_adapter(files.adapter, "--adapter");
  const auto add = [&](const char* name) { identity += "+" + describe_file(adapter.folder / name).checksum; };
  if (adapter.checkpoint) {
    add(kManifest);  // it has the checksums of its files
  } else {
    add(model::kAdapterFile);
    add(model::kAdapterConfigFile);
  }
  return identity;
}

model::BlockValues values_on_all_ranks(comm::Communicator& communicator, const model::Model& model,
                                       const parallel::Placement* placement, const model::BlockValues& values,
                                       const WeightFiles& files) {
  if (!all_have_the_same(communicator, files)) return parallel::values_of_rank_0(communicator, model, values);
  return [&communicator, held = parallel::values_of_held_blocks(model, placement, values)](std::size_t block) {
    std::vector<at::Tensor> mine;
    comm::agree(communicator, [&] { mine = held(block); });
    return mine;
  };
}

}  // namespace lshdp::train
