// RowExchange: rows of a table go from the ranks that own them to those that look them up, and their gradients back.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/comm/communicator.h"

namespace lshdp::parallel {

/// Gradients of rows on their way to their owner, in one step. May be used by another thread than the exchange's.
class ArrivingRows {
 public:
  /// Whether add_to() would not wait; `call` runs when that is so, as Work::when_done() says.
  bool there() const { return work_.done(); }
  void when_there(std::function<void()> call) { work_.when_done(std::move(call)); }
  /// Waits, and adds the gradients of every rank, in the order of ranks, to `owned` [rows of this rank, width], on
  /// whatever device.
  void add_to(const at::Tensor& owned);

 private:
  friend class RowExchange;
  comm::Work work_;
  at::Tensor own_;                 // [k, width]: of the rows that this rank looks up in its own
  at::Tensor sent_, received_;     // [rows, width], as they travel
  comm::Shards shards_;            // of received_, in rows, by the rank that sends
  std::vector<at::Tensor> asked_;  // by rank: rows, counted from this rank's first
  int rank_ = 0;
};

/// All tensors are of the host. One object per rank; all ranks make the same calls. In each step look_up(), know(), and
/// then both halves or the second only: expect_rows() and fetch(); expect_gradients() and send_gradients(). The
/// gradients that arrived in one step must have been added before the next step's expect_gradients().
class RowExchange {
 public:
  static constexpr int kTags = 3;

  /// `rows`: which rows of the table each rank owns, of `width` elements each. Gradients travel as `wire`. Has the tags
  /// [first_tag, first_tag + kTags) for itself and goes at `priority`. `communicator` must outlive it.
  RowExchange(comm::Communicator& communicator, comm::Shards rows, std::int64_t width, at::ScalarType wire,
              int first_tag, int priority);

  /// How many rows this rank owns.
  std::int64_t owned_count() const { return rows_.count(communicator_.rank()); }

  /// Tells all ranks the rows that this one looks up in the step: int64 [K], rising. Throws std::invalid_argument for
  /// anything else, or rows that the table does not have.
  void look_up(const at::Tensor& rows);
  /// Waits until it is known here what the others look up.
  void know();
  /// Posts the receives of a fetch of elements of `type`: owners that are ready may send.
  void expect_rows(at::ScalarType type);
  /// Sends of `owned` [rows of this rank, width] what others look up in it. Returns what this rank looks up [K, width],
  /// when it is there.
  at::Tensor fetch(const at::Tensor& owned);
  /// Posts the receives of the gradients of this rank's rows.
  std::shared_ptr<ArrivingRows> expect_gradients();
  /// Begins to send `gradients` [K, width] to the owners. `gradients` are the exchange's from now on.
  void send_gradients(const at::Tensor& gradients);

 private:
  std::int64_t first_owned() const { return rows_.begin(communicator_.rank()); }
  comm::Shards in_elements(const comm::Shards& rows) const;
  at::Tensor rows_asked(int rank) const;
  at::Tensor own_part(const at::Tensor& looked_up) const;
  at::Tensor room_for_asked(at::ScalarType type) const;

  comm::Communicator& communicator_;
  comm::Shards rows_;
  std::int64_t width_;
  at::ScalarType wire_;
  int first_tag_, priority_;

  // Of the step under way.
  std::vector<std::uint8_t> wanted_;  // rank by rank, a bit for each row
  comm::Work telling_, fetching_;
  at::Tensor looked_up_;           // [K]
  comm::Shards mine_;              // of looked_up_, by owner
  std::vector<at::Tensor> asked_;  // by rank: rows, counted from this rank's first
  comm::Shards asked_shards_;      // how many: by rank that asked, none for this one
  at::Tensor packed_, fetched_;    // [rows, width]
  std::shared_ptr<ArrivingRows> arriving_;
};

}  // namespace lshdp::parallel
