// The model section of a configuration.
#pragma once
#include "lshdp/explore/model.h"
#include "section.h"

namespace lshdp::explore {

/// Throws UsageError.
Model read_model(Section& section);

}  // namespace lshdp::explore
