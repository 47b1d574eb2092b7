// Reads the step from a file's metadata.
#include "saved_step.h"

#include <charconv>

#include "lshdp/model/safetensors.h"

namespace lshdp::train {

std::int64_t step_of_file(const std::filesystem::path& weights) {
  const auto metadata = model::read_safetensors_metadata(weights);
  const auto found = metadata.find("step");
  std::int64_t step = -1;
  if (found != metadata.end()) std::from_chars(found->second.data(), found->second.data() + found->second.size(), step);
  return step;
}

}  // namespace lshdp::train
