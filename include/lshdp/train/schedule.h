// The learning rate by step: linear warm-up, then constant or cosine.
#pragma once
#include <cstdint>
#include <string_view>

namespace lshdp::train {

struct Schedule {
  enum class Kind : std::uint8_t { constant, cosine } kind = Kind::constant;
  double learning_rate = 1e-3;    // the peak
  std::int64_t warmup_steps = 0;  // the rate rises linearly; step `warmup_steps` is the first at the peak
  std::int64_t total_steps = 0;   // cosine: reaches 0 one step after the last
};

/// "constant" or "cosine"; throws UsageError naming --schedule otherwise.
Schedule::Kind schedule_from_text(std::string_view text);

/// The rate of `step`, counted from 0. Cosine: peak * (1 + cos(pi * t)) / 2 with t from 0 to 1 after the warm-up
/// (Loshchilov and Hutter, arXiv 1608.03983, one cycle).
double learning_rate_at(const Schedule& schedule, std::int64_t step);

}  // namespace lshdp::train
