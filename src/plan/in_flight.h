// How many micro-batches the stages of a replica hold at a time, under memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "lshdp/plan/layout.h"
#include "pipeline_cost.h"

namespace lshdp::plan {

/// Gives the stages of `replica` their in_flight: as `schedule` has it and `more` on top at the first stage, fewer at
/// later ones, none at the last (slow links keep more under way), all as far as memory allows, and 1 at least. Blocks
/// are held by `holders` ranks each.
void set_in_flight(const PipelineCost& cost, Replica& replica, PipelineSchedule schedule, std::int64_t more,
                   std::size_t holders);

/// Peak memory of the rank of each stage, by stage. Stages must have their in_flight.
std::vector<std::int64_t> bytes_of(const PipelineCost& cost, const Replica& replica, std::size_t holders);

/// The first stage whose rank's memory does not hold its stages; none: all fit. A rank that has the whole model was
/// tried with micro-batches up to max_batch, so that counts; of others, bytes_of().
std::optional<std::size_t> misfit_of(const PipelineCost& cost, const Replica& replica, std::size_t holders);

}  // namespace lshdp::plan
