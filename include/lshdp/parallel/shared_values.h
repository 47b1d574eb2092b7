// First values that all ranks take from rank 0, so that none can begin with others.
#pragma once
#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"

namespace lshdp::parallel {

/// Each block's values as `read` gives them on rank 0, sent to all when the block is asked for. Every call is
/// collective; an Error of `read` becomes an AgreedError. `communicator` and `model` must outlive it.
model::BlockValues values_of_rank_0(comm::Communicator& communicator, const model::Model& model,
                                    const model::BlockValues& read);

}  // namespace lshdp::parallel
