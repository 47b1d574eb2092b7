// Whether every two ranks can exchange messages, found out before anything waits for one.
#pragma once
#include <string>
#include <vector>

#include "lshdp/comm/interfaces.h"
#include "lshdp/comm/mpi_communicator.h"

namespace lshdp::comm {

inline constexpr double kConnectionLimit = 25;  // with the start of MPI, a pair is named within 30 s

/// Every two ranks exchange a small message. Where one does not come within `limit_seconds`, throws RunError on the
/// rank that waits for it, the lowest first, naming both hosts and the setting of Open MPI that chooses the network;
/// the session must then be aborted. All ranks must call it before any other communication.
void require_connections(const MpiSession& session, double limit_seconds = kConnectionLimit);

/// Where a host is in the network.
struct Endpoint {
  std::string host;
  std::vector<Interface> interfaces;
};
/// What to do when no message comes from `other`, in one line.
std::string connection_advice(const Endpoint& mine, const Endpoint& other);

}  // namespace lshdp::comm
