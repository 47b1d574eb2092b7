// Learning rates by step.
#include "lshdp/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::train {

Schedule::Kind schedule_from_text(std::string_view text) {
  if (text == "constant") return Schedule::Kind::constant;
  if (text == "cosine") return Schedule::Kind::cosine;
  throw UsageError(fmt::format("--schedule: unknown schedule '{}'; use constant or cosine", text));
}

double learning_rate_at(const Schedule& schedule, std::int64_t step) {
  if (step < schedule.warmup_steps) {
    return schedule.learning_rate * static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps + 1);
  }
  if (schedule.kind == Schedule::Kind::constant) return schedule.learning_rate;
  const auto span = static_cast<double>(std::max<std::int64_t>(schedule.total_steps - schedule.warmup_steps, 1));
  const double t = std::clamp(static_cast<double>(step - schedule.warmup_steps) / span, 0.0, 1.0);
  return schedule.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * t));
}

}  // namespace lshdp::train
