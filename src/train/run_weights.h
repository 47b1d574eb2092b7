// The weights that a run leaves: the last ones, and if asked for those of the best evaluation.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/precision.h"
#include "lshdp/parallel/store.h"
#include "lshdp/train/metrics.h"

namespace lshdp::train {

/// Whether a file is named as weights that a run has set aside: abandoned-step-N.safetensors, or -N-2, ...
bool is_set_aside(const std::filesystem::path& weights);

/// The folder in a run's that holds the moving average of its weights, as the run's own holds the weights.
inline constexpr const char* kEmaFolder = "ema";

struct RunWeightsOptions {
  std::filesystem::path results;  // the run directory; empty: none
  std::filesystem::path save;     // a file for the last weights beside it; empty: none
  bool keep_best = false;
  plan::Precision precision = plan::Precision::fp32;
  std::string results_option = "--results";  // that named the run directory, for messages
  std::filesystem::path base = {};           // the weights that an adapter belongs to; empty: drawn
  model::BlockValues first_values = {};      // of what the store does not train, but for adapters; maybe empty
};

/// RUN/model.safetensors with config.json, or an adapter as PEFT has it, and RUN/best with the same two. One per rank;
/// all ranks make the same calls, with a synchronized store. Failures to write are AgreedErrors, which leave the files
/// as they were.
class RunWeights {
 public:
  RunWeights(comm::Communicator& communicator, const model::Model& model, parallel::StateAccess& store,
             RunWeightsOptions options);

  /// Before the first step, after `first_step` steps of the run that is resumed: writes the configuration, or warns
  /// that nothing will be kept. Throws an AgreedError where the disk has no room for them now. A best evaluation counts
  /// on. Weights of steps that are done again get another name.
  void begin(std::int64_t first_step);
  /// From here on the weights are those of `store`.
  void follow(parallel::StateAccess& store) { store_ = &store; }
  /// Keeps the weights if this evaluation has the least loss so far. True if it has, and they were kept.
  bool evaluated(const EvaluationRecord& record);
  /// Throws an AgreedError with exit code 1, naming a tensor, if the weights after `step` are not finite.
  void require_finite(std::int64_t step);
  /// Writes the last weights.
  void finish(std::int64_t step);

  /// {"step", "loss"} of the best evaluation; null without --keep-best, or before the first.
  nlohmann::json best() const;

 private:
  /// Of the file that holds weights.
  const char* file_name() const;
  void write_config(const std::filesystem::path& folder) const;
  std::int64_t bytes() const;
  void write(const std::vector<std::filesystem::path>& paths, const std::map<std::string, std::string>& metadata);

  comm::Communicator& communicator_;
  const model::Model& model_;
  parallel::StateAccess* store_;
  RunWeightsOptions options_;
  bool adapter_;  // is all that is trained
  struct Best {
    std::int64_t step = 0;
    double loss = 0;
  };
  std::optional<Best> best_;
};

}  // namespace lshdp::train
