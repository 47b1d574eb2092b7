// The model of a command that runs on several ranks.
#pragma once
#include <string>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"

namespace lshdp::cli {

/// model::make_model on rank 0, described to the others: a JSON file need not be on their hosts. Throws AgreedError.
/// All ranks must call it.
model::Model shared_model(comm::Communicator& communicator, const std::string& preset_or_path);

}  // namespace lshdp::cli
