// The handle of an operation: forwards to the backend's state; without one, the operation is done.
#include <stdexcept>
#include <utility>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

void Work::start() {
  if (!state_) throw std::logic_error("Work::start() of an operation that was not deferred");
  state_->start();
}

void Work::wait() {
  if (state_) state_->wait();
}

bool Work::done() const { return !state_ || state_->done(); }

void Work::when_done(std::function<void()> call) {
  if (state_) {
    state_->when_done(std::move(call));
  } else {
    call();
  }
}

double Work::began() const { return state_ ? state_->began() : 0; }

double Work::finished() const { return state_ ? state_->finished() : 0; }

}  // namespace lshdp::comm
