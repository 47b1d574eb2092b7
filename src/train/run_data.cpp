// Opening the data of a run.
#include "run_data.h"

#include <algorithm>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "lshdp/data/identity.h"
#include "lshdp/data/matching.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/evaluate.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

/// Steps of `epochs` passes over the data.
std::int64_t steps_of(std::int64_t epochs, std::int64_t steps_per_epoch) {
  std::int64_t steps = 0;
  if (!__builtin_mul_overflow(epochs, steps_per_epoch, &steps)) return steps;
  throw UsageError(fmt::format("--epochs: {} of {} steps each are more steps than can be counted", epochs,
                               format_count(steps_per_epoch)));
}

/// Throws UsageError where no sample has a term of the loss.
void require_trained(const data::Dataset& dataset, const fs::path& path, std::string_view option) {
  for (std::int64_t sample = 0; sample < dataset.size(); ++sample) {
    if (dataset.terms(std::span(&sample, 1)) > 0) return;
  }
  throw UsageError(fmt::format("{}: no token of {} is trained", option, path.string()));
}

/// Classes and statistics are those of the training set.
std::unique_ptr<data::Dataset> open_evaluation(const data::Dataset& training, const model::Model& model,
                                               const TrainOptions& options) {
  auto opened = data::matched(open_for_model(options.eval_data, model), options.eval_data.string(),
                              data::trained_on(training.info(), options.data.string()));
  require_same_tokenizer({options.data, training.info()}, {options.eval_data, opened->info()});
  say_how_images_fit(options.eval_data, opened->info(), model);
  require_trained(*opened, options.eval_data, "--eval-data");
  return opened;
}

/// With windows anywhere, an epoch is as many samples as there are fixed windows.
std::unique_ptr<data::HeterogeneousDistributedSampler> make_sampler(const data::Dataset& training,
                                                                    const model::Model& model,
                                                                    const TrainOptions& options) {
  const bool anywhere = options.windows == data::Windows::anywhere;
  if (anywhere && training.info().kind == data::DatasetInfo::Kind::images)
    throw UsageError(fmt::format("--windows random is for tokens, but {} holds images", options.data.string()));
  const std::int64_t samples = anywhere ? (training.info().count - 1) / model.input.context : training.size();
  auto sampler =
      std::make_unique<data::HeterogeneousDistributedSampler>(samples, plan::batches_of(options.plan), options.seed);
  if (anywhere) sampler->draw_from(training.size());
  return sampler;
}

}  // namespace

std::int64_t RunData::global_terms(std::int64_t step) const {
  if (training->info().masked) return std::max<std::int64_t>(1, training->terms(sampler->samples_of(step)));
  constexpr std::int64_t any = 0;
  return sampler->global_count(step) * training->terms(std::span(&any, 1));
}

std::int64_t RunData::steps(const TrainOptions& options) const {
  return options.steps ? *options.steps : steps_of(*options.epochs, sampler->steps_per_epoch());
}

RunData open_run_data(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options) {
  RunData data;
  comm::agree(communicator, [&] {
    data.training = open_for_model(options.data, model, options.windows);
    require_augmentation({options.data, data.training->info()}, options.augmentation);
    require_trained(*data.training, options.data, "--data");
    say_how_images_fit(options.data, data.training->info(), model);
    if (!options.eval_data.empty()) data.evaluation = open_evaluation(*data.training, model, options);
    data.sampler = make_sampler(*data.training, model, options);
    data.steps(options);
  });
  data.identity = identity_by_rank_0(communicator, options.data);
  data.evaluation_identity = identity_by_rank_0(communicator, options.eval_data);
  return data;
}

Json identity_by_rank_0(comm::Communicator& communicator, const fs::path& path) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    if (path.empty()) return std::string("null");
    Json identity = data::to_json(data::identity_of(path));
    identity["path"] = fs::absolute(path).string();
    return json_text(identity);
  });
  return text.empty() ? Json() : Json::parse(text);
}

}  // namespace lshdp::train
