// From a plan's sizes to the store's and the communicator's.
#include "lshdp/measure/transfer.h"

#include <utility>

namespace lshdp::measure {

RankSetup with_transfer_sizes(RankSetup setup, const std::optional<plan::TransferSizes>& sizes) {
  if (sizes) setup.bucket_bytes = sizes->bucket_bytes;
  return setup;
}

RankSetup follow_transfer_sizes(comm::Communicator& communicator, RankSetup setup,
                                const std::optional<plan::TransferSizes>& sizes) {
  if (sizes) {
    communicator.set_send_sizes(
        {.segment_bytes = sizes->segment_bytes, .sends_in_flight = static_cast<int>(sizes->sends_in_flight)});
  }
  return with_transfer_sizes(std::move(setup), sizes);
}

}  // namespace lshdp::measure
