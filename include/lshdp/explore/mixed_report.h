// What a search over devices of several types found, as JSON and as tables for people.
#pragma once
#include <string>

#include "lshdp/core/json.h"
#include "lshdp/explore/mixture.h"
#include "lshdp/explore/settings.h"

namespace lshdp::explore {

/// Of a configuration whose cluster has types.
Json to_json(const Settings& settings, const MixedFound& found);
std::string describe(const Settings& settings, const MixedFound& found, RankBy by);

}  // namespace lshdp::explore
