// What a composed configuration asks for: model, trainer, device, ranges; each key checked.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lshdp/core/json.h"
#include "lshdp/explore/hardware.h"
#include "lshdp/explore/model.h"
#include "lshdp/explore/search_space.h"
#include "lshdp/explore/trainer.h"

namespace lshdp::explore {

struct Settings {
  Model model;
  Trainer trainer;
  SearchSpace space;
  std::optional<Device> device = {};    // none: memory is computed and nothing judged
  std::optional<Cluster> cluster = {};  // none: no times are computed
  Efficiency efficiency = {};

  /// True if the layers' times are those that a profile of this model measured.
  bool has_layer_times() const;
  /// What times are computed with; none without device and cluster.
  std::optional<Hardware> hardware() const;
};

/// Reads PLANNER.md's keys and ours (docs/explore.md lists them). Throws UsageError naming `source` and the key:
/// missing, unknown (with the nearest), of a wrong type, out of range, or not fitting another. Where there is a
/// cluster, the device must have all that times need.
Settings read_settings(const Json& tree, const std::string& source);

/// The `model` section that a Hugging Face config.json describes. What it does not say stands as ???: seq_length and
/// global_batch_size. Throws UsageError for model types that are not known here.
Json model_of_hugging_face(const Json& config, const std::string& name, const std::string& source);

}  // namespace lshdp::explore
