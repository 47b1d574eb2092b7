// Small collective conveniences on bytes and text, and errors that all ranks agree on.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// Every rank's `text`, by rank. All ranks must call it.
std::vector<std::string> all_gather_text(Communicator& communicator, const std::string& text);
/// `text` of rank `root` on every rank. All ranks must call it.
std::string broadcast_text(Communicator& communicator, const std::string& text, int root = 0);
/// Every rank's value, by rank. All ranks must call it.
std::vector<double> all_gather_values(Communicator& communicator, double value);
/// The node of every rank, by rank, as gather_hosts() names it. All ranks must call it.
std::vector<std::string> all_gather_hosts(Communicator& communicator);

/// Runs `check` on every rank. If it threw an Error anywhere, throws on *every* rank an AgreedError with the message of
/// the lowest failing rank ("rank R (HOST): ..." unless all ranks failed alike) and its exit code. All ranks must call
/// it.
void agree(Communicator& communicator, const std::function<void()>& check);
/// As agree, but `work` runs on rank 0 only; what it returns arrives on every rank. All ranks must call it.
std::string on_rank_0(Communicator& communicator, const std::function<std::string()>& work);

}  // namespace lshdp::comm
