// The step that weights of a run are of.
#pragma once
#include <cstdint>
#include <filesystem>

namespace lshdp::train {

/// Of weights that a run ended with; -1 where the file does not say. Throws UsageError if it is no safetensors file.
std::int64_t step_of_file(const std::filesystem::path& weights);

/// The same of the last weights, or the last adapter, in a run directory; -1 also where it has none.
std::int64_t step_of_last_weights(const std::filesystem::path& run);

}  // namespace lshdp::train
