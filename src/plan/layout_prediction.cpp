// A layout checked against a profile, and filled in with what is expected of it.
#include "lshdp/plan/layout_prediction.h"

#include <algorithm>

#include <fmt/format.h>

#include "filled_layout.h"
#include "in_flight.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

void require_timed(const Profile& profile, const Layout& layout, const std::string& source) {
  for (const Replica& replica : layout.replicas) {
    for (const Stage& stage : replica.stages) {
      const RankProfile& rank = profile.ranks[rank_of(stage)];
      if (!rank.curve.empty()) continue;
      throw UsageError(
          fmt::format("{}: the blocks of rank {} ({}) were not timed, because the model does not fit "
                      "it; give it more memory and profile again, or leave it out",
                      source, rank.rank, rank.host));
    }
  }
}

/// in_flight where the layout does not state it.
void complete_in_flight(const PipelineCost& cost, Layout& layout) {
  for (Replica& replica : layout.replicas) {
    const std::vector<Stage> stated = replica.stages;
    set_in_flight(cost, replica, layout.schedule, 0, layout.replicas.size());
    const auto micro_batches = static_cast<std::int64_t>(replica.micro_batches.size());
    for (std::size_t stage = 0; stage < stated.size(); ++stage) {
      if (stated[stage].in_flight) replica.stages[stage].in_flight = std::min(*stated[stage].in_flight, micro_batches);
    }
  }
}

void require_memory(const PipelineCost& cost, const Layout& layout, const std::string& source) {
  for (std::size_t q = 0; q < layout.replicas.size(); ++q) {
    const std::size_t holders = layout.replicas.size();
    if (const auto stage = misfit_of(cost, layout.replicas[q], holders))
      throw UsageError(fmt::format("{}: {}", source, describe_misfit(cost, layout, q, *stage)));
  }
}

}  // namespace

LayoutNeeds needs_of(const Profile& profile) {
  LayoutNeeds needs{.model = profile.model, .blocks = profile.blocks.size()};
  for (std::size_t block = 0; block < profile.blocks.size(); ++block) {
    for (const std::size_t owner : profile.blocks[block].shares_with)
      needs.shared_parameters.emplace_back(owner, block);
  }
  return needs;
}

LayoutPrediction predict_layout(const Profile& profile, const Layout& layout, const std::string& source) {
  require_fits(layout, needs_of(profile), static_cast<std::int64_t>(profile.ranks.size()), source);
  if (!is_data_parallel(layout) && profile.strategy.mode != Mode::ddp) {
    throw UsageError(fmt::format("{}: has stages, but the profile is of mode {}; stages need --mode ddp", source,
                                 to_text(profile.strategy.mode)));
  }
  require_timed(profile, layout, source);
  const PipelineCost cost(profile, largest_micro_batch(layout));
  Layout complete = layout;
  complete_in_flight(cost, complete);
  require_memory(cost, complete, source);
  return filled(cost, complete, layout_step(cost, complete));
}

}  // namespace lshdp::plan
