// What must be the same on all ranks, compared before it can do harm.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/comm/hosts.h"

namespace lshdp::comm {

/// Names and values, in the order in which differences are told.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// One line for each name whose value is not the same on all ranks: which value, on which ranks and nodes. A name that
/// a rank does not have is "absent" there. `facts`, `nodes`: by rank.
std::vector<std::string> differences(const std::vector<Facts>& facts, const std::vector<std::string>& nodes);

/// Every rank's facts, by rank. All ranks must call it.
std::vector<Facts> all_gather_facts(Communicator& communicator, const Facts& mine);

/// Throws AgreedError of exit code 2 "ranks differ: ...; `remedy`" unless all ranks have the same facts. All ranks must
/// call it.
void require_same(Communicator& communicator, const Facts& mine, const std::string& remedy);

}  // namespace lshdp::comm
