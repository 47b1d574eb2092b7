// Reads the step from a file's metadata.
#include "saved_step.h"

#include <charconv>

#include "lshdp/model/peft.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/weights.h"

namespace lshdp::train {

std::int64_t step_of_file(const std::filesystem::path& weights) {
  const auto metadata = model::read_safetensors_metadata(weights);
  const auto found = metadata.find("step");
  std::int64_t step = -1;
  if (found != metadata.end()) std::from_chars(found->second.data(), found->second.data() + found->second.size(), step);
  return step;
}

std::int64_t step_of_last_weights(const std::filesystem::path& run) {
  for (const char* name : {model::kWeightsFile, model::kAdapterFile})
    if (std::filesystem::exists(run / name)) return step_of_file(run / name);
  return -1;
}

}  // namespace lshdp::train
