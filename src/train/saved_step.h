// The step that weights of a run are of.
#pragma once
#include <cstdint>
#include <filesystem>

namespace lshdp::train {

/// Of weights that a run ended with; -1 where the file does not say. Throws UsageError if it is no safetensors file.
std::int64_t step_of_file(const std::filesystem::path& weights);

}  // namespace lshdp::train
