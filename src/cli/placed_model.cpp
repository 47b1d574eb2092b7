// Stores and pipelines of weights that are only read.
#include "placed_model.h"

#include <utility>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/train/saved_adapter.h"
#include "lshdp/train/saved_model.h"
#include "lshdp/train/shared_weights.h"
#include "model_option.h"

namespace lshdp::cli {
namespace {

constexpr const char* kOption = "--layout";

model::BlockValues weights_of(const model::Model& model, const train::WeightFiles& files) {
  model::BlockValues weights = train::saved_block_values(model, files.init, "--init");
  return files.adapter.empty() ? weights : train::merged_values(model, std::move(weights), files.adapter);
}

}  // namespace

plan::Layout shared_layout(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                           const std::string& path) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const plan::ModeTraits& traits = plan::traits_of(setup.strategy.mode);
    if (!traits.replicates)
      throw UsageError(fmt::format("{}: the blocks of a stage lie on its rank as in --mode ddp; leave out --mode {}",
                                   kOption, traits.name));
    plan::Layout layout = plan::read_layout(path);
    for (const char* changed : {kWithAdapters, kWithFrozen}) {
      if (layout.model.starts_with(model.name + changed)) layout.model = model.name;  // it has the same blocks
    }
    plan::require_fits(layout, parallel::layout_needs(model), communicator.size(),
                       fmt::format("{}: {}", kOption, path));
    return json_text(plan::to_json(layout));
  });
  return plan::layout_from_json(parse_json(text, kOption), kOption);
}

PlacedModel::PlacedModel(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                         const std::optional<plan::Layout>& layout, const Values& values) {
  parallel::StoreOptions storing = measure::store_options(setup);
  parallel::WalkerOptions walking = measure::walker_options(setup);
  if (layout) {
    placement_ = std::make_shared<parallel::Placement>(*layout, communicator);
    storing.placement = placement_;
    walking.ranges = parallel::ranges_of(*layout, communicator.rank());
  }
  store_ = parallel::make_store(model, communicator, storing);
  {
    const auto scope = measure::scope_of_values(setup);
    const train::WeightFiles files{values.text("init"), values.has("adapter") ? values.text("adapter") : ""};
    store_->take_values(
        train::values_on_all_ranks(communicator, model, placement_.get(), weights_of(model, files), files));
  }
  walker_ = std::make_unique<parallel::BlockWalker>(model, *store_, walking);
  if (layout)
    pipeline_ = std::make_unique<parallel::Pipeline>(*layout, model, communicator, *walker_, setup.compute_device,
                                                     setup.strategy.precision);
}

}  // namespace lshdp::cli
