// lshdp evaluate: loss and accuracy of saved weights over a data set.
#include "lshdp/train/evaluate.h"

#include <optional>

#include <fmt/format.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/json.h"
#include "lshdp/core/memory.h"
#include "lshdp/core/text.h"
#include "lshdp/data/matching.h"
#include "lshdp/measure/host_room.h"
#include "lshdp/train/saved_model.h"
#include "lshdp/train/trained_data.h"
#include "model_option.h"
#include "placed_model.h"
#include "rank_options.h"

namespace lshdp::cli {

Options evaluate_options() {
  Options options("evaluate", "Computes the loss and accuracy of saved weights, split over the ranks.",
                  "mpirun -np 2 lshdp evaluate --init runs/first --data test.h5");
  options
      .required("init", "WEIGHTS",
                "the weights: a run, a checkpoint, a Hugging Face folder, a list of shards or a safetensors file")
      .option("model", "MODEL", "a preset, a JSON file or a folder, where the weights do not say it themselves")
      .option("adapter", "DIR", "a LoRA adapter of these weights: its folder, or a run that trained one");
  add_context_option(options);
  options.required("data", "FILE", "the data set")
      .option("trained-on", "TRAIN.h5",
              "the training set: images are normalised and classes numbered as there (default: as in the run that the "
              "weights are of)")
      .option("micro-batch", "B", "samples at a time", "64")
      .option("layout", "FILE", "which rank holds which blocks (layout.json; default: all ranks have the whole model)");
  add_rank_options(options);
  return options;
}

namespace {

/// By a layout each replica takes its share of the samples, else each rank an equal one.
train::EvaluationRecord evaluated(comm::Communicator& communicator, const model::Model& model, PlacedModel& placed,
                                  const std::optional<plan::Layout>& layout, data::Dataset& dataset,
                                  std::int64_t micro_batch) {
  const auto ranks = static_cast<std::size_t>(communicator.size());
  const data::Preparation preparation = train::preparation_for(model, {});
  if (!layout) {
    const std::vector<std::int64_t> equal(ranks, 1);
    return train::evaluate(communicator, model, placed.walker(), dataset, preparation, equal, micro_batch, 0);
  }
  return train::evaluate(communicator, model, *placed.pipeline(), plan::data_rank_of(*layout, communicator.rank()),
                         dataset, preparation, plan::batches_of(plan::plan_of(*layout, ranks)), micro_batch, 0);
}

}  // namespace

int run_evaluate(const Arguments& arguments) {
  const Values values = evaluate_options().parse(arguments);
  if (values.help()) return 0;
  const measure::RankRequest ranks = rank_request(values);
  const std::int64_t micro_batch = values.integer("micro-batch", 1);
  return with_ranks("evaluate", values, [&](comm::Communicator& communicator) {
    const model::Model model = shared_model_of_weights(communicator, values, true);
    const measure::RankSetup setup = measure::set_up_rank(communicator, ranks);
    measure::require_host_room(communicator, model, setup, /*alone=*/false);
    MemoryBudget budget(*setup.compute_device, setup.memory_bytes);
    std::optional<plan::Layout> layout;
    if (values.has("layout")) layout = shared_layout(communicator, model, setup, values.text("layout"));
    // By rank 0's word: the weights need not lie on other hosts.
    const std::string training_set =
        comm::on_rank_0(communicator, [&] { return json_text(train::training_set_of(given_weights(values))); });
    std::unique_ptr<data::Dataset> dataset;
    comm::agree(communicator, [&] {
      dataset = train::open_for_model(values.text("data"), model);
      if (values.has("trained-on")) {
        const std::string& training = values.text("trained-on");
        dataset = data::matched(std::move(dataset), values.text("data"),
                                data::trained_on(train::open_for_model(training, model)->info(), training));
      } else {
        dataset = train::as_trained(std::move(dataset), values.text("data"), Json::parse(training_set));
      }
      train::say_how_images_fit(values.text("data"), dataset->info(), model);
    });
    PlacedModel placed(communicator, model, setup, layout, values);
    const train::EvaluationRecord result = evaluated(communicator, model, placed, layout, *dataset, micro_batch);
    train::require_finite_loss(result);
    const std::string accuracy = result.accuracy ? fmt::format(", accuracy {:.2f} %", 100 * *result.accuracy) : "";
    print_on_rank_0(communicator, fmt::format("loss {:.6f}{} over {} samples\n", result.loss, accuracy,
                                              format_count(result.samples)));
  });
}

}  // namespace lshdp::cli
