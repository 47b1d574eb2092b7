// Gathering what all ranks have to say of a run.
#include "run_record.h"

#include <algorithm>

#include <unistd.h>

#include "device_peak.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/wall_time.h"
#include "lshdp/model/operations.h"
#include "settings.h"

namespace lshdp::train {

RunRecord describe_run(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
                       std::int64_t total, const ResumePoint& from) {
  const std::vector<double> memories =
      comm::all_gather_values(communicator, static_cast<double>(options.setup.memory_bytes));
  const std::vector<double> peaks = comm::all_gather_values(
      communicator, device_peak(options.setup.compute_device->description(), options.setup.strategy.precision));
  const bool text = model.input.kind == model::InputSpec::Kind::tokens;
  RunRecord run{.model = model.name,
                .strategy = options.setup.strategy,
                .total = total,
                .ranks = {},
                .predicted = std::nullopt,
                .tokens_per_sample = text ? model.terms_per_sample() : 0,
                .resumed_after = from.step,
                .time = utc_time_text(),
                .last_step = options.schedule.total_steps};
  // Counting them takes a moment: only where there is something to compare with.
  if (communicator.rank() == 0 && std::ranges::min(peaks) > 0) run.flops_per_sample = flops_per_sample(model);
  const std::vector<double> speeds = comm::all_gather_values(communicator, options.setup.speed);
  const std::vector<std::string> devices = comm::all_gather_text(communicator, options.setup.compute_device->name());
  for (const plan::RankPlan& rank : options.plan.ranks) {
    const auto r = static_cast<std::size_t>(rank.rank);
    const std::int64_t max_batch = options.max_batch.empty() ? 0 : options.max_batch[r];
    run.ranks.push_back({rank.rank, rank.host, rank.batch, max_batch, speeds[r], devices[r],
                         static_cast<std::int64_t>(memories[r]), peaks[r]});
  }
  if (options.plan.predicted.step_seconds > 0) run.predicted = options.plan.predicted;
  return run;
}

Json describe_launch(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
                     const RunData& data, std::int64_t steps, const ResumePoint& from) {
  const Json mine{{"rank", communicator.rank()},
                  {"host", options.setup.host},
                  {"pid", ::getpid()},
                  {"device", options.setup.compute_device->name()},
                  {"threads", options.setup.threads},
                  {"speed", options.setup.speed},
                  {"memory_bytes", options.setup.memory_bytes}};
  Json ranks = Json::array();
  for (const std::string& text : comm::all_gather_text(communicator, json_text(mine)))
    ranks.push_back(Json::parse(text));
  Json launch{{"started", utc_time_text()},
              {"program", options.invocation.program},
              {"command", options.invocation.command},
              {"options", options.invocation.options},
              {"ranks", ranks},
              {"model",
               {{"name", model.name},
                {"parameters", model.parameter_count()},
                {"trained_parameters", model.trained_count()},
                {"description", model.description}}},
              {"data", data.identity},
              {"eval_data", data.evaluation_identity},
              {"training", training_settings(options)},
              {"steps", steps},
              {"plan", plan::to_json(options.plan)},
              {"measured_with", options.measured_with}};
  if (!from.checkpoint.empty()) {
    launch["resumed_from"] = from.checkpoint.string();
    launch["resumed_after"] = from.step;
    launch["changes"] = from.changes;
  }
  return launch;
}

}  // namespace lshdp::train
