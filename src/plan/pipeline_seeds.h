// Pipelines that a search starts from.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cut_rules.h"
#include "pipeline_rater.h"

namespace lshdp::plan {

struct Seed {
  PipelineShape shape;
  std::int64_t count = 0;  // micro-batches
  double least = 0;        // least_seconds()
};

/// More micro-batches in a step are not looked at.
inline constexpr std::int64_t kMostMicroBatches = 4096;

/// Numbers of micro-batches that are looked at: all up to 64 samples; beyond, those up to 16, the divisors, and steps
/// of a fifth.
std::vector<std::int64_t> counts_of(std::int64_t batch);

/// Of the task, the fastest first.
std::vector<std::size_t> by_speed(const PipelineRater& rater);

/// The best cut of these ranks in this order (Bottleneck::cut), with the schedule's in_flight where memory allows them.
std::optional<PipelineShape> cut_in_order(PipelineRater& rater, const std::vector<std::size_t>& order,
                                          std::int64_t count);

/// By their bounds, rising. Of a cut that is given: every rank, in rank order, for each number of micro-batches. Else
/// for some of these and each number of stages the best orders (Bottleneck::order), or orders by speed.
std::vector<Seed> seeds_of(PipelineRater& rater);

}  // namespace lshdp::plan
