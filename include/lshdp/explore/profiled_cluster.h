// The machines that `lshdp profile` measured, as the cluster of a configuration.
#pragma once
#include <optional>
#include <string>

#include "lshdp/core/json.h"
#include "lshdp/plan/profile.h"

namespace lshdp::explore {

/// Keys of a configuration: `cluster`, `efficiency` and, where all ranks are alike, `device`. A rank is a device; its
/// peak is what it reached in the profile, with `operations` of forward and backward of one sample: not given, 6 a
/// parameter that is multiplied with and token, which only models of tokens have. Ranks within 15 % of each other in
/// speed and memory are one type; hosts with several ranks, as many on each and of one type, are nodes. Links are those
/// of the profile, between nodes and within. Throws UsageError naming `source` for what the profile does not tell.
Json configuration_of_profile(const plan::Profile& profile, const std::string& source,
                              std::optional<double> operations);

/// Where `tree` has `cluster.profile`: what that file tells, and over it what else stands in `cluster` and
/// `efficiency`. `cluster.profile_operations` are the operations of a sample.
void read_profiled_cluster(Json& tree, const std::string& source);

}  // namespace lshdp::explore
