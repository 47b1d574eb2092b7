// From a request to a trained model.
#include "lshdp/train/launch.h"

#include <algorithm>
#include <utility>

#include "lshdp/comm/agree.h"
#include "lshdp/core/activity.h"
#include "lshdp/core/log.h"
#include "lshdp/core/memory.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/host_room.h"
#include "lshdp/measure/max_batch.h"
#include "lshdp/measure/transfer.h"
#include "lshdp/model/trained_part.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/evaluate.h"
#include "lshdp/train/shared_weights.h"
#include "lshdp/train/weights_tokenizer.h"
#include "settings.h"

namespace lshdp::train {
namespace {

/// The samples of the data set, which must fit the model and what is asked for.
std::int64_t sample_count(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options) {
  std::int64_t count = 0;
  comm::agree(communicator, [&] {
    const auto dataset = open_for_model(options.data, model);
    require_augmentation({options.data, dataset->info()}, options.augmentation);
    count = dataset->size();
  });
  return count;
}

/// The request of this rank, which will hold small data sets in memory.
measure::RankRequest with_data(comm::Communicator& communicator, measure::RankRequest request,
                               const TrainOptions& options, const model::Model& model) {
  comm::agree(communicator, [&] {
    request.data_bytes = open_for_model(options.data, model)->memory_bytes();
    if (!options.eval_data.empty()) request.data_bytes += open_for_model(options.eval_data, model)->memory_bytes();
  });
  return request;
}

/// Beside the largest micro-batch that this run may give the rank.
void decide_resident_blocks(comm::Communicator& communicator, const model::Model& model, MemoryBudget& budget,
                            TrainOptions& options) {
  const auto rank = static_cast<std::size_t>(communicator.rank());
  const auto& planned = options.plan.ranks[rank].micro_batches;
  std::int64_t largest = planned.empty() ? 1 : *std::ranges::max_element(planned);
  if (options.rebalance_every > 0 && options.profile && !options.layout)
    largest = std::max(largest, options.profile->ranks[rank].max_batch);
  comm::agree(communicator, [&] {
    options.setup =
        measure::with_resident_blocks(model, options.setup, communicator.rank(), communicator.size(), budget, largest);
  });
}

/// Fills in what the ranks choose together.
void choose(comm::Communicator& communicator, const model::Model& model, const PlanRequest& request,
            MemoryBudget& budget, TrainOptions& options) {
  const std::int64_t samples = sample_count(communicator, model, options);
  PlanChoice choice = choose_plan(communicator, model, options.setup, budget, request, samples,
                                  {.folder = options.results, .resumed = !options.resume.empty()});
  options.plan = std::move(choice.plan);
  options.layout = std::move(choice.layout);
  options.setup = measure::follow_transfer_sizes(communicator, options.setup, options.plan.transfer);
  options.max_batch = std::move(choice.max_batch);
  options.profile = std::move(choice.profile);
  options.measured = std::move(choice.measured);
  options.measured_with = std::move(choice.measured_with);
  options.rebalance_every = request.rebalance;
  options.rebalance.max_accumulation = request.max_accumulation;
}

/// By rank 0's word. Drawn weights follow from --seed.
std::string shared_base_identity(comm::Communicator& communicator, const std::filesystem::path& init) {
  return comm::on_rank_0(communicator, [&] { return init.empty() ? kDrawn : identity_of({init, {}}); });
}

/// Wrong tokens would train without a word.
void warn_of_other_tokens(comm::Communicator& communicator, const TrainOptions& options) {
  if (options.init.empty() || !options.resume.empty()) return;
  comm::on_rank_0(communicator, [&] {
    const std::string doubt = doubt_of_tokens(find_saved_model(options.init, "--init"), options.data);
    if (!doubt.empty()) spdlog::warn("{}", doubt);
    return std::string();
  });
}

}  // namespace

nlohmann::json launch(comm::Communicator& world, const model::Model& model, const LaunchRequest& request,
                      TrainOptions options) {
  note_activity(Doing::starting);
  if (model::is_partly_frozen(model)) options.base_identity = shared_base_identity(world, options.init);
  options.setup = measure::set_up_rank(world, with_data(world, request.ranks, options, model));
  measure::require_host_room(world, model, options.setup, /*alone=*/true);
  require_resumable(world, model, options);
  warn_of_other_tokens(world, options);
  const auto between_devices = measure::make_device_communicator(world, request.communicator, options.setup);
  comm::Communicator& communicator = between_devices ? *between_devices : world;
  MemoryBudget budget(*options.setup.compute_device);
  note_activity(Doing::measuring);
  choose(communicator, model, request.plan, budget, options);
  decide_resident_blocks(communicator, model, budget, options);
  budget.set_limit(options.setup.memory_bytes);
  const std::string memory = measure::describe_memory(communicator, model, options.setup);
  if (communicator.rank() == 0) {
    if (const std::int64_t all = model.parameter_count(), trained = model.trained_count(); trained < all)
      spdlog::info("{} of {} parameters are trained", format_count(trained), format_count(all));
    spdlog::info("{}", memory);
  }
  budget.reset_peak();
  options.memory = &budget;
  note_activity(Doing::starting, 0);
  return train(communicator, model, options);
}

}  // namespace lshdp::train
