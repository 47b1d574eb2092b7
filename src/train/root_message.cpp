// A broadcast that is waited for a step later.
#include "root_message.h"

#include <exception>
#include <utility>

namespace lshdp::train {

RootMessage::~RootMessage() {
  try {
    work_.wait();
  } catch (const std::exception&) {
    // The run failed; whoever noticed first has said so.
  }
}

void RootMessage::send(std::vector<double> values) {
  values_ = std::move(values);
  work_ =
      communicator_.broadcast({values_.data(), static_cast<std::int64_t>(values_.size()), comm::DataType::float64}, 0);
}

std::optional<std::vector<double>> RootMessage::receive() {
  if (values_.empty()) return std::nullopt;
  work_.wait();
  return std::exchange(values_, {});
}

}  // namespace lshdp::train
