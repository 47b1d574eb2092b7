// The sizes in flight of a plan, put to use by a rank.
#pragma once
#include <optional>

#include "lshdp/comm/communicator.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/plan/transfer_sizes.h"

namespace lshdp::measure {

/// The setup with buckets of these sizes; as it is where there are none.
RankSetup with_transfer_sizes(RankSetup setup, const std::optional<plan::TransferSizes>& sizes);

/// The same, and from now on `communicator` sends in these sizes. All ranks must call it with the same ones, with no
/// store made on the communicator yet: throws as Communicator::set_send_sizes does.
RankSetup follow_transfer_sizes(comm::Communicator& communicator, RankSetup setup,
                                const std::optional<plan::TransferSizes>& sizes);

}  // namespace lshdp::measure
