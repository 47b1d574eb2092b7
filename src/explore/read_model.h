// The model section of a configuration.
#pragma once
#include "lshdp/explore/model.h"
#include "section.h"

namespace lshdp::explore {

/// Keys of the section that say something about the model.
std::vector<std::string> model_keys();
/// Throws UsageError.
Model read_model(const Section& section);

}  // namespace lshdp::explore
