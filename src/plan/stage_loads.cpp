// Sums over micro-batches and blocks.
#include "stage_loads.h"

#include <algorithm>
#include <map>
#include <utility>

namespace lshdp::plan {

std::vector<std::int64_t> near_equal(std::int64_t batch, std::int64_t count) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(count), batch / count);
  for (std::int64_t i = 0; i < batch % count; ++i) ++sizes[static_cast<std::size_t>(i)];
  return sizes;
}

StageLoads::StageLoads(const PipelineCost& cost, const std::vector<std::size_t>& ranks,
                       std::vector<std::int64_t> micro_batches)
    : cost_(cost), micro_batches_(std::move(micro_batches)) {
  std::map<std::int64_t, double> count;
  for (const std::int64_t size : micro_batches_) {
    ++count[size];
    batch_ += static_cast<double>(size);
  }
  const std::size_t all = cost.profile().ranks.size();
  work_.resize(all);
  first_forward_.resize(all);
  last_backward_.resize(all);
  for (const std::size_t rank : ranks) {
    const BlockTimesOfRank& times = cost.blocks().times(rank);
    work_[rank].assign(cost.blocks().blocks() + 1, 0.0);
    for (const auto& [size, times_of_size] : count) {
      const PassSums sums = times.sums(size);
      for (std::size_t block = 0; block < work_[rank].size(); ++block)
        work_[rank][block] += times_of_size * (sums.forward[block] + sums.backward[block]);
    }
    first_forward_[rank] = times.sums(micro_batches_.front()).forward;
    last_backward_[rank] = times.sums(micro_batches_.back()).backward;
  }
}

double StageLoads::message_bytes(BlockRange range) const {
  return static_cast<double>(cost_.blocks().input_bytes(range) + cost_.blocks().sent_bytes(range));
}

double StageLoads::work(std::size_t rank, BlockRange range) const {
  return computing(rank, range) + 2 * cost_.transfer_seconds(rank, message_bytes(range) * batch_);
}

double StageLoads::link(std::size_t rank, BlockRange range) const {
  const double rate = cost_.link_rate(rank);
  return rate > 0 ? message_bytes(range) * batch_ / rate : 0;
}

double StageLoads::first_forward(std::size_t rank, BlockRange range) const {
  return first_forward_[rank][range.end] - first_forward_[rank][range.start] +
         cost_.transfer_seconds(rank, message_bytes(range) * static_cast<double>(micro_batches_.front()));
}

double StageLoads::last_backward(std::size_t rank, BlockRange range) const {
  return last_backward_[rank][range.end] - last_backward_[rank][range.start] +
         cost_.transfer_seconds(rank, message_bytes(range) * static_cast<double>(micro_batches_.back()));
}

double StageLoads::first_send(std::size_t from, std::size_t to, std::size_t cut) const {
  return cost_.send_seconds(from, to, cut, micro_batches_.front());
}

double StageLoads::last_send(std::size_t from, std::size_t to, std::size_t cut) const {
  return cost_.send_seconds(from, to, cut, micro_batches_.back());
}

double least_seconds(const StageLoads& loads, const PipelineShape& shape) {
  double before = 0, after = 0, least = 0;
  const bool comes_back = shape.comes_back();
  for (std::size_t stage = 0; stage < shape.stages(); ++stage) {
    const std::size_t rank = shape.ranks[stage];
    const BlockRange range{shape.start(stage), shape.ends[stage]};
    double work = loads.work(rank, range), link = loads.link(rank, range);
    if (stage == 0 && comes_back) {
      const BlockRange last{shape.start(shape.stages() - 1), shape.ends.back()};
      work += loads.work(rank, last);
      link += loads.link(rank, last);
    }
    least = std::max({least, before + work + after, link});
    if (stage + 1 == shape.stages()) break;
    const std::size_t next = shape.ranks[stage + 1];
    before += loads.first_forward(rank, range) + loads.first_send(rank, next, range.end);
    after += loads.last_backward(rank, range) + loads.last_send(rank, next, range.end);
  }
  return least;
}

}  // namespace lshdp::plan
