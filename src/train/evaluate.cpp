// Evaluation, and the fit of data to models.
#include "lshdp/train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/data/sampler.h"
#include "lshdp/train/data_fit.h"

namespace lshdp::train {
namespace {

using data::DatasetInfo;
using model::InputSpec;

/// The largest number that any rank has.
std::int64_t most_of_ranks(comm::Communicator& communicator, std::size_t mine) {
  const auto all = comm::all_gather_values(communicator, static_cast<double>(mine));
  return static_cast<std::int64_t>(*std::ranges::max_element(all));
}

/// The batches of this rank's run of samples, in order.
std::vector<data::Request> requests_of(std::int64_t begin, std::int64_t end, std::int64_t micro_batch) {
  std::vector<data::Request> requests;
  for (std::int64_t at = begin; at < end; at += micro_batch) {
    std::vector<std::int64_t> samples(static_cast<std::size_t>(std::min(micro_batch, end - at)));
    std::iota(samples.begin(), samples.end(), at);
    requests.push_back({std::move(samples), 0});
  }
  return requests;
}

/// The same of `rank`, whose share of all samples goes by its weight.
std::vector<data::Request> requests_of(int rank, std::int64_t samples, std::span<const std::int64_t> weights,
                                       std::int64_t micro_batch) {
  const std::vector<std::int64_t> counts = data::split_in_proportion(samples, weights);
  const std::int64_t begin = std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0});
  return requests_of(begin, begin + counts[static_cast<std::size_t>(rank)], micro_batch);
}

data::PrefetchingLoader loader_of(data::Dataset& dataset, const data::Preparation& preparation,
                                  const std::vector<data::Request>& requests) {
  return {dataset, preparation, [&requests](std::int64_t k) -> std::optional<data::Request> {
            if (k >= std::ssize(requests)) return std::nullopt;
            return requests[static_cast<std::size_t>(k)];
          }};
}

parallel::Evaluation evaluate_run(parallel::BlockWalker& walker, data::Dataset& dataset,
                                  const data::Preparation& preparation, const std::vector<data::Request>& requests) {
  data::PrefetchingLoader loader = loader_of(dataset, preparation, requests);
  parallel::Evaluation sum;
  while (const auto batch = loader.next()) {
    const parallel::Evaluation part = walker.evaluate(batch->input, batch->target, batch->positions);
    sum.loss += part.loss;
    sum.correct += part.correct;
    sum.terms += part.terms;
  }
  return sum;
}

void require_images(const std::string& file, const DatasetInfo& info, const InputSpec& input) {
  if (info.kind != DatasetInfo::Kind::images)
    throw UsageError(fmt::format("{} holds tokens, but the model reads images", file));
  const std::int64_t values = info.channels * info.height * info.width;
  if (input.kind == InputSpec::Kind::image && info.channels != input.channels) {
    throw UsageError(
        fmt::format("{}: images have {} channels, but the model reads {}", file, info.channels, input.channels));
  }
  if (input.kind == InputSpec::Kind::flat && values != input.input_size) {
    throw UsageError(
        fmt::format("{}: images have {} values, but the model's input_size is {}", file, values, input.input_size));
  }
  if (info.classes > input.classes) {
    throw UsageError(fmt::format("{}: {} classes, but the model has {} outputs", file, info.classes, input.classes));
  }
}

void require_tokens(const std::string& file, const DatasetInfo& info, const model::Model& model) {
  const InputSpec& input = model.input;
  if (info.kind != DatasetInfo::Kind::tokens)
    throw UsageError(fmt::format("{} holds images, but the model reads tokens", file));
  require_vocabulary(file, info.tokenizer, info.vocabulary, input.vocabulary);
  if (info.padded_to > 0 && info.padded_to != input.context)
    throw UsageError(fmt::format("{}: each document fills samples of {} tokens (--pad-to); give --context {}", file,
                                 info.padded_to, info.padded_to));
  if (info.documents && !model.keeps_documents_apart)
    throw UsageError(
        fmt::format("{}: was made with --packing documents, but {} does not keep documents apart; make it "
                    "with --packing none",
                    file, model.name));
}

/// What all ranks found together.
EvaluationRecord summed(comm::Communicator& communicator, const model::Model& model, const parallel::Evaluation& mine,
                        std::int64_t samples, std::int64_t step) {
  // Counts of samples are far below 2^53: their sums in double are exact.
  double sums[3] = {mine.loss, static_cast<double>(mine.correct), static_cast<double>(mine.terms)};
  communicator.all_reduce_sum({sums, 3, comm::DataType::float64}).wait();
  if (sums[2] == 0) throw AgreedError("the evaluation data hold no token that counts in the loss", 2);
  EvaluationRecord record{step, sums[0] / sums[2], std::nullopt, samples};
  if (model.input.kind != InputSpec::Kind::tokens) record.accuracy = sums[1] / sums[2];
  return record;
}

}  // namespace

EvaluationRecord evaluate(comm::Communicator& communicator, const model::Model& model, parallel::BlockWalker& walker,
                          data::Dataset& dataset, const data::Preparation& preparation,
                          std::span<const std::int64_t> weights, std::int64_t micro_batch, std::int64_t step) {
  const std::vector<data::Request> requests = requests_of(communicator.rank(), dataset.size(), weights, micro_batch);
  const std::int64_t passes = walker.gathers_every_pass() ? most_of_ranks(communicator, requests.size()) : 0;
  const parallel::Evaluation mine = evaluate_run(walker, dataset, preparation, requests);
  for (auto pass = static_cast<std::int64_t>(requests.size()); pass < passes; ++pass) walker.empty_forward();
  return summed(communicator, model, mine, dataset.size(), step);
}

EvaluationRecord evaluate(comm::Communicator& communicator, const model::Model& model, parallel::Pipeline& pipeline,
                          std::optional<int> data_rank, data::Dataset& dataset, const data::Preparation& preparation,
                          std::span<const std::int64_t> weights, std::int64_t micro_batch, std::int64_t step) {
  std::vector<data::Request> requests;
  if (data_rank) requests = requests_of(*data_rank, dataset.size(), weights, micro_batch);
  std::vector<std::int64_t> sizes;
  for (const data::Request& request : requests) sizes.push_back(std::ssize(request.samples));
  data::PrefetchingLoader loader = loader_of(dataset, preparation, requests);
  const parallel::Evaluation mine = pipeline.evaluate(sizes, [&loader] {
    const std::optional<data::Batch> batch = loader.next();
    if (!batch) throw std::logic_error("the loader ended before the last batch");
    return parallel::StageBatch{batch->input, batch->target, batch->positions};
  });
  return summed(communicator, model, mine, dataset.size(), step);
}

void require_finite_loss(const EvaluationRecord& record) {
  if (std::isfinite(record.loss)) return;
  throw AgreedError(fmt::format("the loss over {} samples is not finite ({}): the weights are of no use for these data",
                                record.samples, record.loss),
                    1);
}

std::unique_ptr<data::Dataset> open_for_model(const std::filesystem::path& path, const model::Model& model,
                                              data::Windows windows) {
  const DatasetInfo info = data::read_dataset_info(path);
  if (model.input.kind == InputSpec::Kind::tokens) {
    require_tokens(path.string(), info, model);
  } else {
    require_images(path.string(), info, model.input);
  }
  return data::open_dataset(path, std::max<std::int64_t>(model.input.context, 1), windows);
}

void say_how_images_fit(const std::filesystem::path& path, const DatasetInfo& info, const model::Model& model) {
  const std::int64_t size = model.input.image_size;
  if (model.input.kind != InputSpec::Kind::image || (info.height == size && info.width == size)) return;
  const bool square = info.height == info.width;
  spdlog::log(square ? spdlog::level::info : spdlog::level::warn,
              "{}: images of {} x {} (width x height) are {} to the model's {} x {} as they are read{}",
              printable(path.string()), info.width, info.height, square ? "resized" : "squeezed", size, size,
              square ? "" : "; 'lshdp data images --shorter' keeps their shape");
}

data::Preparation preparation_for(const model::Model& model, const data::Augmentation& augmentation) {
  return {model.input.kind == InputSpec::Kind::image ? model.input.image_size : 0, augmentation};
}

}  // namespace lshdp::train
