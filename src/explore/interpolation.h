// Values that name others: ${model.hidden_size}.
#pragma once
#include "lshdp/core/json.h"

namespace lshdp::explore {

/// Replaces each ${key}, from the root or with a dot at its beginning from beside the value, by the value there; within
/// other text by its text. Throws UsageError for keys that are not there, circles, and resolvers such as
/// ${oc.env:HOME}.
void resolve_interpolations(Json& tree);

}  // namespace lshdp::explore
