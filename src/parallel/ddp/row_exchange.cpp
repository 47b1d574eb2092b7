// Who wants which rows, as bits that all ranks gather; then rows and gradients as exchanges of known length.
#include "ddp/row_exchange.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "layout/bucket_transfer.h"

namespace lshdp::parallel {
namespace {

std::int64_t bytes_of_bits(std::int64_t bits) { return (bits + 7) / 8; }

void require_rows(const at::Tensor& rows, std::int64_t count) {
  if (rows.dim() != 1 || rows.scalar_type() != at::kLong || !rows.is_contiguous())
    throw std::invalid_argument("rows to look up that are no list of integers");
  const auto* row = rows.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    if (row[i] < 0 || row[i] >= count)
      throw std::invalid_argument(fmt::format("row {} of a table of {} rows", row[i], count));
    if (i > 0 && row[i] <= row[i - 1]) throw std::invalid_argument("rows to look up that do not rise");
  }
}

/// Where a rising list of rows crosses the border between owners.
comm::Shards by_owner(const at::Tensor& rows, const comm::Shards& owners) {
  const auto* first = rows.const_data_ptr<std::int64_t>();
  comm::Shards result;
  for (const std::int64_t bound : owners.bounds)
    result.bounds.push_back(std::lower_bound(first, first + rows.numel(), bound) - first);
  return result;
}

}  // namespace

void ArrivingRows::add_to(const at::Tensor& owned) {
  work_.wait();
  for (int rank = 0; rank < static_cast<int>(asked_.size()); ++rank) {
    const at::Tensor gradients = rank == rank_ ? own_ : received_.narrow(0, shards_.begin(rank), shards_.count(rank));
    owned.index_add_(0, asked_[static_cast<std::size_t>(rank)].to(owned.device()), gradients.to(owned.options()));
  }
}

RowExchange::RowExchange(comm::Communicator& communicator, comm::Shards rows, std::int64_t width, at::ScalarType wire,
                         int first_tag, int priority)
    : communicator_(communicator),
      rows_(std::move(rows)),
      width_(width),
      wire_(wire),
      first_tag_(first_tag),
      priority_(priority) {}

void RowExchange::look_up(const at::Tensor& rows) {
  const std::int64_t bytes = bytes_of_bits(rows_.bounds.back());
  require_rows(rows, rows_.bounds.back());
  looked_up_ = rows;
  mine_ = by_owner(rows, rows_);
  wanted_.assign(static_cast<std::size_t>(bytes * communicator_.size()), 0);
  std::uint8_t* bits = wanted_.data() + bytes * communicator_.rank();
  const auto* row = rows.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < rows.numel(); ++i) bits[row[i] / 8] |= static_cast<std::uint8_t>(1U << (row[i] % 8));
  telling_ = communicator_.all_gather({wanted_.data(), static_cast<std::int64_t>(wanted_.size()), comm::DataType::byte},
                                      comm::equal_shards(bytes * communicator_.size(), communicator_.size(), bytes),
                                      {.tag = first_tag_, .priority = priority_});
}

void RowExchange::know() {
  telling_.wait();
  asked_.clear();
  asked_shards_.bounds.assign(1, 0);
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    asked_.push_back(rows_asked(rank));
    const std::int64_t count = rank == communicator_.rank() ? 0 : asked_.back().numel();
    asked_shards_.bounds.push_back(asked_shards_.bounds.back() + count);
  }
}

/// The rows of this rank that `rank` looks up, counted from the first.
at::Tensor RowExchange::rows_asked(int rank) const {
  const std::uint8_t* bits = wanted_.data() + bytes_of_bits(rows_.bounds.back()) * rank;
  std::vector<std::int64_t> rows;
  for (std::int64_t row = first_owned(); row < rows_.end(communicator_.rank()); ++row) {
    if ((bits[row / 8] >> (row % 8) & 1) != 0) rows.push_back(row - first_owned());
  }
  return at::tensor(rows, at::kLong);
}

comm::Shards RowExchange::in_elements(const comm::Shards& rows) const {
  comm::Shards elements = rows;
  for (std::int64_t& bound : elements.bounds) bound *= width_;
  return elements;
}

/// Of something that has a row for each that this rank looks up: those that it owns itself.
at::Tensor RowExchange::own_part(const at::Tensor& looked_up) const {
  const int rank = communicator_.rank();
  return looked_up.narrow(0, mine_.begin(rank), mine_.count(rank));
}

/// At least as much as this rank looks up itself: a rank that measures its memory alone has what it will have among
/// equals.
at::Tensor RowExchange::room_for_asked(at::ScalarType type) const {
  const std::int64_t asked = asked_shards_.bounds.back();
  return at::empty({std::max(asked, looked_up_.numel()), width_}, type).narrow(0, 0, asked);
}

void RowExchange::expect_rows(at::ScalarType type) {
  packed_ = room_for_asked(type);
  fetched_ = at::empty({looked_up_.numel(), width_}, type);
  fetching_ =
      communicator_.all_to_all(buffer_of(packed_), in_elements(asked_shards_), buffer_of(fetched_), in_elements(mine_),
                               {.tag = first_tag_ + 1, .priority = priority_, .deferred = true});
}

at::Tensor RowExchange::fetch(const at::Tensor& owned) {
  const int size = communicator_.size(), rank = communicator_.rank();
  for (int other = 0; other < size; ++other) {
    if (other == rank) continue;
    at::Tensor place = packed_.narrow(0, asked_shards_.begin(other), asked_shards_.count(other));
    at::index_select_out(place, owned, 0, asked_[static_cast<std::size_t>(other)]);
  }
  fetching_.start();
  at::Tensor own = own_part(fetched_);
  at::index_select_out(own, owned, 0, asked_[static_cast<std::size_t>(rank)]);
  fetching_.wait();
  packed_.reset();
  return std::exchange(fetched_, {});
}

std::shared_ptr<ArrivingRows> RowExchange::expect_gradients() {
  arriving_ = std::make_shared<ArrivingRows>();
  arriving_->rank_ = communicator_.rank();
  arriving_->asked_ = asked_;
  arriving_->shards_ = asked_shards_;
  arriving_->sent_ = at::empty({looked_up_.numel(), width_}, wire_);
  arriving_->received_ = room_for_asked(wire_);
  arriving_->work_ = communicator_.all_to_all(buffer_of(arriving_->sent_), in_elements(mine_),
                                              buffer_of(arriving_->received_), in_elements(asked_shards_),
                                              {.tag = first_tag_ + 2, .priority = priority_, .deferred = true});
  return arriving_;
}

void RowExchange::send_gradients(const at::Tensor& gradients) {
  arriving_->own_ = own_part(gradients);
  arriving_->sent_.copy_(gradients);
  arriving_->work_.start();
}

}  // namespace lshdp::parallel
