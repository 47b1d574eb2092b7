// The settings of a run as JSON, and how two of them differ.
#include "settings.h"

#include <fmt/format.h>

#include "lshdp/core/text.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::train {
namespace {

constexpr const char* kLayerDecay = "--layer-decay";

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : json_text(value); }

std::string change_of(const std::string& name, const Json& then, const Json& now) {
  return fmt::format("{} {} (now {})", name, text_of(then), text_of(now));
}

/// A manifest may say anything of the data, or nothing.
std::string data_text(const Json& data) {
  const Json count = data.value("count", Json(0));
  return fmt::format("{}, {} {}", text_of(data.value("path", Json(""))),
                     json_is<std::int64_t>(count) ? format_count(count.get<std::int64_t>()) : text_of(count),
                     text_of(data.value("kind", Json(""))));
}

/// Of two data sets that hold different samples, or normalise them differently; empty: they do not.
std::string change_of_data(const Json& then, const Json& now) {
  if (!then.is_object() || !now.is_object()) return "";
  const auto differs = [&](const char* key) { return then.value(key, Json()) != now.value(key, Json()); };
  const auto change = [&](const std::string& name, const char* key) {
    return change_of(name, then.value(key, Json()), now.value(key, Json()));
  };
  if (differs("checksum")) {
    std::string text = fmt::format("--data {} (now {})", data_text(then), data_text(now));
    if (!differs("count")) text += " with other contents";
    return text;
  }
  if (differs("mean")) return change("the data's mean", "mean");
  if (differs("deviation")) return change("the data's deviation", "deviation");
  return "";
}

}  // namespace

Json training_settings(const TrainOptions& options) {
  const Schedule& schedule = options.schedule;
  const bool cosine = schedule.kind == Schedule::Kind::cosine;
  Json settings{{"--schedule", cosine ? "cosine" : "constant"},
                {"--lr", schedule.learning_rate},
                {"--warmup", schedule.warmup_steps},
                {"--weight-decay", options.adamw.weight_decay},
                {"--decay", options.adamw.decay_all ? "all" : "matrices"},
                {"--beta1", options.adamw.beta1},
                {"--beta2", options.adamw.beta2},
                {"--epsilon", options.adamw.epsilon},
                {"--clip", options.clip_norm},
                {kEmaSetting, options.ema},
                {kLayerDecay, options.layer_decay},
                {"--label-smoothing", options.label_smoothing},
                {"--crop-padding", options.augmentation.crop_padding},
                {"--flip", options.augmentation.horizontal_flip},
                {"--windows", options.windows == data::Windows::anywhere ? "random" : "fixed"}};
  // A checkpoint does not hold what is not trained.
  if (!options.base_identity.empty()) settings["--init"] = options.base_identity;
  // A constant rate does not ask how long the run is.
  if (cosine) settings[kLengthSetting] = schedule.total_steps;
  return settings;
}

bool holds_averages(const CheckpointInfo& info) {
  return json_value_or<double>(info.training, kEmaSetting, 0, "checkpoint") > 0;
}

std::vector<std::string> changes_since(const CheckpointInfo& written, const CheckpointInfo& now) {
  std::vector<std::string> changes;
  const auto compare = [&](const std::string& name, const Json& then, const Json& here) {
    if (then != here) changes.push_back(change_of(name, then, here));
  };
  if (std::string data = change_of_data(written.data, now.data); !data.empty()) changes.push_back(std::move(data));
  compare("--total", written.total, now.total);
  compare("--seed", written.seed, now.seed);
  compare("--precision", plan::to_text(written.strategy.precision), plan::to_text(now.strategy.precision));
  compare("--wire", plan::to_text(written.strategy.wire), plan::to_text(now.strategy.wire));
  for (const auto& [name, value] : now.training.items()) {
    if (written.training.contains(name))
      compare(name, written.training[name], value);
    else if (name == kLayerDecay || name == kEmaSetting)  // older checkpoints do not name them
      compare(name, name == kLayerDecay ? 1.0 : 0.0, value);
  }
  return changes;
}

}  // namespace lshdp::train
