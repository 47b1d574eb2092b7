// Tags of the scalars of a run.
#include "tensorboard.h"

#include <fmt/format.h>

namespace lshdp::train {
namespace {

void add_by_rank(std::vector<Scalar>& scalars, std::string_view group, const std::vector<double>& values) {
  for (std::size_t rank = 0; rank < values.size(); ++rank)
    scalars.push_back({fmt::format("{}/rank_{}", group, rank), values[rank]});
}

}  // namespace

std::vector<Scalar> scalars_of(const StepRecord& step) {
  const double seconds = step.step_seconds;
  const auto rate = [&](std::int64_t count) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; };
  std::vector<Scalar> scalars{{"train/loss", step.loss},
                              {"train/learning_rate", step.learning_rate},
                              {"train/gradient_norm", step.gradient_norm},
                              {"speed/step_seconds", seconds},
                              {"speed/samples_per_second", rate(step.samples)}};
  if (step.tokens > 0) scalars.push_back({"speed/tokens_per_second", rate(step.tokens)});
  if (step.model_flops_utilization) scalars.push_back({"speed/model_flops_utilization", *step.model_flops_utilization});
  add_by_rank(scalars, "compute_seconds", step.compute_seconds);
  add_by_rank(scalars, "wait_seconds", step.wait_seconds);
  return scalars;
}

std::vector<Scalar> scalars_of(const EvaluationRecord& evaluation) {
  std::vector<Scalar> scalars{{"evaluation/loss", evaluation.loss}};
  if (evaluation.accuracy) scalars.push_back({"evaluation/accuracy", *evaluation.accuracy});
  return scalars;
}

}  // namespace lshdp::train
