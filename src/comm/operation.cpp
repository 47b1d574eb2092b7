// Steps of an operation on memory.
#include "operation.h"

#include <cstring>

#include "kernels.h"
#include "lshdp/core/bf16.h"

namespace lshdp::comm {

Operation::Operation(Schedule schedule, Buffer vector, const Transfer& how, bool small,
                     std::shared_ptr<EngineWork> work)
    : schedule_(std::move(schedule)),
      vector_(vector),
      how_(how),
      small_(small),
      work_(std::move(work)),
      element_bytes_(static_cast<std::int64_t>(size_of(vector.type))),
      wire_bytes_(how.wire == Wire::bf16 ? 2 : element_bytes_) {
  const auto wanted = static_cast<std::size_t>(schedule_.scratch_elements * wire_bytes_);
  // Scratch of the caller is for rings; copies of all ranks need more than it has.
  if (!schedule_.sums_copies && how_.scratch.size() >= wanted) {
    scratch_ = how_.scratch.data();
  } else {
    own_scratch_ = std::make_unique_for_overwrite<std::byte[]>(wanted);
    scratch_ = own_scratch_.get();
  }
}

std::byte* Operation::in_vector(std::int64_t element) const {
  return static_cast<std::byte*>(vector_.data) + element * element_bytes_;
}

std::byte* Operation::in_scratch(std::int64_t element) const { return scratch_ + element * wire_bytes_; }

Piece Operation::place_of(const Incoming& receive) const {
  const std::int64_t bytes = receive.count * wire_bytes_;
  if (receive.scratch >= 0) return {in_scratch(receive.scratch), bytes};
  // What must be widened arrives in the second half of its place.
  return {in_vector(receive.offset) + receive.count * element_bytes_ - bytes, bytes};
}

const Incoming* Operation::next_receive() const {
  if (posted_ == schedule_.receives.size()) return nullptr;
  const Incoming& receive = schedule_.receives[posted_];
  return receive.after < static_cast<std::int64_t>(through_) ? &receive : nullptr;
}

Piece Operation::take_receive() { return place_of(schedule_.receives[posted_++]); }

const Outgoing* Operation::next_send() const {
  if (!begun_ || issued_ == schedule_.sends.size()) return nullptr;
  const Outgoing& send = schedule_.sends[issued_];
  return send.after < static_cast<std::int64_t>(worked_in_) ? &send : nullptr;
}

Piece Operation::take_send(std::vector<std::byte>& staging) {
  const Outgoing& send = schedule_.sends[issued_++];
  const std::int64_t bytes = send.count * wire_bytes_;
  if (send.from_scratch) return {in_scratch(send.offset), bytes};
  if (!rounds()) return {in_vector(send.offset), bytes};
  staging.resize(static_cast<std::size_t>(bytes));
  auto* rounded = reinterpret_cast<Bf16*>(staging.data());
  round_to_bf16(reinterpret_cast<const float*>(in_vector(send.offset)), rounded, send.count);
  if (send.own) widen_bf16(rounded, in_vector(send.offset), send.count);
  return {staging.data(), bytes};
}

void Operation::begin() {
  begun_ = true;
  if (!schedule_.sums_copies) return;
  std::byte* copy = in_scratch(schedule_.sends.front().offset);
  if (rounds()) {
    round_to_bf16(static_cast<const float*>(vector_.data), reinterpret_cast<Bf16*>(copy), vector_.count);
  } else {
    std::memcpy(copy, vector_.data, static_cast<std::size_t>(vector_.count * element_bytes_));
  }
}

void Operation::work_in(const Incoming& receive) {
  const Piece piece = place_of(receive);
  if (receive.sum && rounds()) {
    add_bf16(reinterpret_cast<float*>(in_vector(receive.offset)), reinterpret_cast<const Bf16*>(piece.data),
             receive.count);
  } else if (receive.sum) {
    add_elements(vector_.type, in_vector(receive.offset), piece.data, receive.count);
  } else if (receive.scratch < 0 && rounds()) {
    widen_bf16(piece.data, in_vector(receive.offset), receive.count);
  }
}

bool Operation::advance() {
  if (!work_->started()) return false;
  const bool begins = !begun_, works_in = worked_in_ < arrived_;
  if (begins) begin();
  while (worked_in_ < arrived_) work_in(schedule_.receives[worked_in_++]);
  return begins || works_in;
}

bool Operation::finished() const {
  return begun_ && worked_in_ == schedule_.receives.size() && through_ == schedule_.sends.size();
}

std::optional<int> Operation::waits_for() const {
  if (arrived_ < schedule_.receives.size()) return schedule_.receives[arrived_].peer;
  if (through_ < schedule_.sends.size()) return schedule_.sends[through_].peer;
  return std::nullopt;
}

void Operation::finish() {
  if (!schedule_.sums_copies) return;
  std::memset(vector_.data, 0, static_cast<std::size_t>(vector_.count * element_bytes_));
  for (std::int64_t first = 0; first < schedule_.scratch_elements; first += vector_.count) {
    if (rounds()) {
      add_bf16(static_cast<float*>(vector_.data), reinterpret_cast<const Bf16*>(in_scratch(first)), vector_.count);
    } else {
      add_elements(vector_.type, vector_.data, in_scratch(first), vector_.count);
    }
  }
}

}  // namespace lshdp::comm
