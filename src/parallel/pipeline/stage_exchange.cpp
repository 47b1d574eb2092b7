// Messages between stages through the communicator of all ranks, ahead of everything else.
#include "pipeline/stage_exchange.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>

#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lshdp/core/clock.h"
#include "lshdp/parallel/precision.h"

namespace lshdp::parallel {
namespace {

// Stores and the norm have the tags below.
constexpr int kFirstTag = 500'000;
constexpr int kTags = comm::kLargestTag + 1 - kFirstTag;
constexpr int kPriority = 0;  // nothing goes ahead: a rank stands still for each

int tag_of(const StageMessage& message) {
  return kFirstTag + static_cast<int>(message.number % static_cast<std::size_t>(kTags));
}

}  // namespace

StageExchange::StageExchange(comm::Communicator& communicator, ComputeDevice& device)
    : communicator_(communicator), device_(device) {}

StageExchange::~StageExchange() {
  // Nobody is left to hear of a failure.
  const auto wait = [](comm::Work& work) {
    try {
      work.wait();
    } catch (const std::exception&) {
    }
  };
  for (auto& [number, incoming] : incoming_) wait(incoming.work);
  for (auto& [number, outgoing] : outgoing_) wait(outgoing.work);
  synchronize_device(device_);
}

void StageExchange::send(const StageMessage& message, const at::Tensor& tensor) {
  finish_done();
  Outgoing& outgoing = outgoing_[message.number];
  finish(outgoing);
  outgoing.tensor = tensor.contiguous();
  outgoing.wire = wire_memory(outgoing.tensor);
  outgoing.work = communicator_.send(buffer_of(outgoing.wire), message.peer,
                                     {.tag = tag_of(message), .priority = kPriority, .deferred = true});
  outgoing.copied = start_when_there(device_, outgoing.wire, outgoing.tensor, device_.record_event(), outgoing.work);
}

void StageExchange::finish(Outgoing& outgoing) {
  outgoing.work.wait();
  outgoing.copied.wait();
  if (outgoing.wire.defined() && !outgoing.wire.is_alias_of(outgoing.tensor)) spare_.push_back(outgoing.wire);
  outgoing = {};
}

/// Gives back the memory of what has left.
void StageExchange::finish_done() {
  for (auto each = outgoing_.begin(); each != outgoing_.end();) {
    if (!each->second.work.done()) {
      ++each;
      continue;
    }
    finish(each->second);
    each = outgoing_.erase(each);
  }
}

at::Tensor StageExchange::wire_memory(const at::Tensor& tensor) {
  if (!device_.has_own_memory()) return tensor;
  const auto fits = [&](const at::Tensor& spare) {
    return spare.numel() == tensor.numel() && spare.scalar_type() == tensor.scalar_type();
  };
  if (const auto known = std::ranges::find_if(spare_, fits); known != spare_.end()) {
    const at::Tensor memory = *known;
    spare_.erase(known);
    return memory;
  }
  HostArena arena(HostArena::bytes_of(tensor.numel(), tensor.scalar_type()), device_);
  return arena.take(tensor.numel(), tensor.scalar_type());
}

void StageExchange::expect(const StageMessage& message, const std::vector<std::int64_t>& shape, at::ScalarType type) {
  const auto [place, fresh] = incoming_.try_emplace(message.number);
  if (!fresh) throw std::logic_error("a message of a stage that is expected twice");
  place->second.tensor = at::empty(shape, type);
  place->second.work = communicator_.receive(buffer_of(place->second.tensor), message.peer,
                                             {.tag = tag_of(message), .priority = kPriority});
}

at::Tensor StageExchange::receive(const StageMessage& message) {
  const auto place = incoming_.find(message.number);
  if (place == incoming_.end()) throw std::logic_error("a message of a stage that nobody expects");
  const double begun = now_seconds();
  place->second.work.wait();
  wait_seconds_ += now_seconds() - begun;
  const at::Tensor tensor = std::move(place->second.tensor);
  incoming_.erase(place);
  return tensor;
}

}  // namespace lshdp::parallel
