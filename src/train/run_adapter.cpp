// By run.json, or by the checkpoint alone where it lies elsewhere.
#include "lshdp/train/run_adapter.h"

#include "checkpoint.h"
#include "lshdp/core/json.h"
#include "lshdp/train/run_file.h"

namespace lshdp::train {

namespace fs = std::filesystem;

std::optional<RunAdapter> adapter_of_run(const fs::path& resume) {
  const std::optional<fs::path> checkpoint = newest_checkpoint(resume);
  if (!checkpoint) return std::nullopt;
  const fs::path run = run_of(*checkpoint);
  const Json launch = read_last_launch(run);
  const std::string source = (run / "run.json").string();
  const Json description =
      launch.is_null() ? read_checkpoint_info(*checkpoint).model
                       : json_value<Json>(json_value<Json>(launch, "model", source), "description", source + ": model");
  if (!description.is_object() || !description.contains(model::kLoraKey)) return std::nullopt;
  RunAdapter found{.settings = model::lora_from_json(description.at(model::kLoraKey), source), .init = {}};
  if (!launch.is_null())
    found.init =
        json_value_or<std::string>(json_value<Json>(launch, "options", source), "init", "", source + ": options");
  return found;
}

}  // namespace lshdp::train
