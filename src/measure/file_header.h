// What the files of max-batch and memory begin with.
#pragma once
#include <string>

#include "lshdp/core/json.h"
#include "lshdp/measure/rank_setup.h"

namespace lshdp::measure {

/// Version, model, and how the ranks keep and move it.
Json file_header(const std::string& model, const RankSetup& setup);

}  // namespace lshdp::measure
