// A layout with what is predicted of it, and sentences about it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "layout_cost.h"
#include "lshdp/plan/layout_prediction.h"

namespace lshdp::plan {

std::int64_t largest_micro_batch(const Layout& layout);

/// `layout`, whose stages have their in_flight, takes `step`.
LayoutPrediction filled(const PipelineCost& cost, Layout layout, const LayoutStep& step);

/// "stage 1 of replica 0 (rank 2 on node2, blocks 4..9, 3 micro-batches of 8 samples at a time) needs 3.1 GiB, and the
/// rank has 2.0 GiB; ..": what would help.
std::string describe_misfit(const PipelineCost& cost, const Layout& layout, std::size_t replica, std::size_t stage);

}  // namespace lshdp::plan
