// Parts that reports of alike and of unequal devices share.
#pragma once
#include <string>
#include <string_view>

#include "lshdp/core/json.h"
#include "lshdp/explore/memory.h"
#include "lshdp/explore/ranking.h"
#include "lshdp/explore/settings.h"

namespace lshdp::explore {

Json memory_json(const StageMemory& stage);
/// What layouts over alike and over unequal devices have in common.
Json sizes_json(const Layout& layout);
/// "1.50".
std::string gib(double bytes);
/// The model in one line, with its newline.
std::string model_line(const Model& model);
/// That layers take what a profile timed, with its newline; empty where they do not.
std::string layer_times_line(const Settings& settings);
std::string_view name_of(RankBy by);

}  // namespace lshdp::explore
