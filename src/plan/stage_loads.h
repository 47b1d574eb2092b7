// Seconds of stages for one cut of a batch into micro-batches, each a difference of sums; and a bound from below on a
// pipeline's step, which saves most simulations.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cut_rules.h"
#include "pipeline_cost.h"

namespace lshdp::plan {

/// `count` micro-batches of `batch` samples, whose sizes differ by 1 at most, the larger ones first.
std::vector<std::int64_t> near_equal(std::int64_t batch, std::int64_t count);

class StageLoads {
 public:
  /// `cost` must outlive it. Of these ranks only.
  StageLoads(const PipelineCost& cost, const std::vector<std::size_t>& ranks, std::vector<std::int64_t> micro_batches);

  const std::vector<std::int64_t>& micro_batches() const { return micro_batches_; }
  /// Forward and backward of all micro-batches.
  double computing(std::size_t rank, BlockRange range) const {
    return work_[rank][range.end] - work_[rank][range.start];
  }
  /// With the CPU time of their messages.
  double work(std::size_t rank, BlockRange range) const;
  /// That the rank's link takes for the messages of all micro-batches, each way.
  double link(std::size_t rank, BlockRange range) const;
  /// The forward of the first micro-batch and the backward of the last one.
  double passing(std::size_t rank, BlockRange range) const {
    return first_forward_[rank][range.end] - first_forward_[rank][range.start] + last_backward_[rank][range.end] -
           last_backward_[rank][range.start];
  }
  /// With the CPU time of their messages.
  double first_forward(std::size_t rank, BlockRange range) const;
  double last_backward(std::size_t rank, BlockRange range) const;
  double first_send(std::size_t from, std::size_t to, std::size_t cut) const;
  double last_send(std::size_t from, std::size_t to, std::size_t cut) const;

 private:
  double message_bytes(BlockRange range) const;

  const PipelineCost& cost_;
  std::vector<std::int64_t> micro_batches_;
  double batch_ = 0;
  std::vector<std::vector<double>> work_, first_forward_,
      last_backward_;  // by rank: sums of the blocks before each one
};

/// No step of this pipeline is shorter: every stage waits for its first micro-batch, does its work, and the last
/// micro-batch's gradients go back to the first stage; a link carries all messages.
double least_seconds(const StageLoads& loads, const PipelineShape& shape);

}  // namespace lshdp::plan
