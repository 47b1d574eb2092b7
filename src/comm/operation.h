// One operation as the engine thread sees it: its schedule, its memory, and how far each list has come. No MPI here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine_work.h"
#include "lshdp/comm/communicator.h"
#include "schedule.h"

namespace lshdp::comm {

/// Bytes that travel.
struct Piece {
  std::byte* data = nullptr;
  std::int64_t bytes = 0;
};

/// Moves data between the vector, scratch and the wire as its schedule says. The engine calls, in this order: begin()
/// once the operation has started; take_send() for each send when may_send(); arrive() and through() as messages
/// complete, in the order of the lists; advance() after that; finish() when finished().
class Operation {
 public:
  Operation(Schedule schedule, Buffer vector, const Transfer& how, bool small, std::shared_ptr<EngineWork> work);

  const Schedule& schedule() const { return schedule_; }
  const std::shared_ptr<EngineWork>& work() const { return work_; }
  int tag() const { return how_.tag; }
  int priority() const { return how_.priority; }
  /// Small operations ask no leave of the receiver and do not count as sends in flight.
  bool small() const { return small_; }
  bool begun() const { return begun_; }

  /// The next receive that may be posted, in order; nullptr if there is none now.
  const Incoming* next_receive() const;
  /// Memory for that receive; it counts as posted from now on.
  Piece take_receive();
  void arrive() { ++arrived_; }

  /// The next send, if its data are ready; nullptr otherwise.
  const Outgoing* next_send() const;
  /// Data of that send; `staging` is used where they must be converted, and must live until the send is through.
  Piece take_send(std::vector<std::byte>& staging);
  void through() { ++through_; }

  /// Works in what has arrived, once the operation has started. True if there was something to do.
  bool advance();
  bool finished() const;
  /// Whose message, or whose receiving, is missing; none where nothing is.
  std::optional<int> waits_for() const;
  /// The last local work; then the vector is the caller's again.
  void finish();

 private:
  std::byte* in_vector(std::int64_t element) const;
  std::byte* in_scratch(std::int64_t element) const;
  Piece place_of(const Incoming& receive) const;
  void begin();
  void work_in(const Incoming& receive);
  bool rounds() const { return how_.wire == Wire::bf16; }

  Schedule schedule_;
  Buffer vector_;
  Transfer how_;
  bool small_;
  std::shared_ptr<EngineWork> work_;
  std::int64_t element_bytes_, wire_bytes_;  // of one element in the vector and on the wire
  std::unique_ptr<std::byte[]> own_scratch_;
  std::byte* scratch_ = nullptr;
  bool begun_ = false;
  // How many, of each list, have come so far.
  std::size_t posted_ = 0, arrived_ = 0, worked_in_ = 0, issued_ = 0, through_ = 0;
};

}  // namespace lshdp::comm
