// Plain MPI messages between all ranks, tested for with a limit. Where they do not come, hosts are told by way of the
// launcher, which has connections of its own.
#include "lshdp/comm/connections.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mpi.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/host.h"
#include "lshdp/core/text.h"

namespace lshdp::comm {
namespace {

constexpr int kTag = 30'000;  // no other message of MPI_COMM_WORLD has it
constexpr double kBetweenTests = 1e-3;
constexpr double kPublishAfter = 2;
constexpr double kBetweenRanks = 0.2;  // the lowest rank prints first, and ends the run
constexpr double kLastResort = 10;

std::string service_of(int rank) {
  const char* job = std::getenv("PMIX_NAMESPACE");
  return fmt::format("lshdp-{}-{}", job == nullptr ? "" : job, rank);
}

void publish_endpoint(int rank) {
  std::string text = host_name() + ' ' + to_text(own_interfaces());
  text.resize(std::min<std::size_t>(text.size(), MPI_MAX_PORT_NAME - 1));
  MPI_Publish_name(service_of(rank).c_str(), MPI_INFO_NULL, text.c_str());
}

Endpoint endpoint_of(int rank) {
  char text[MPI_MAX_PORT_NAME] = {};
  if (MPI_Lookup_name(service_of(rank).c_str(), MPI_INFO_NULL, text) != MPI_SUCCESS) return {"an unknown host", {}};
  const std::string all = text;
  return {all.substr(0, all.find(' ')), interfaces_from_text(all)};
}

/// One message to and from every other rank.
struct Round {
  explicit Round(int rank, int size, int number) : received(static_cast<std::size_t>(size)) {
    for (int peer = 0; peer < size; ++peer) {
      if (peer == rank) continue;
      peers.push_back(peer);
      MPI_Irecv(&received[static_cast<std::size_t>(peer)], 1, MPI_INT, peer, kTag + number, MPI_COMM_WORLD,
                &requests.emplace_back());
    }
    for (const int peer : peers)
      MPI_Isend(&sent, 1, MPI_INT, peer, kTag + number, MPI_COMM_WORLD, &requests.emplace_back());
  }

  /// Who has not been heard from.
  std::vector<int> missing() {
    std::vector<int> silent;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      int done = 1;
      if (MPI_Test(&requests[i], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) done = 0;
      if (done == 0) silent.push_back(peers[i % peers.size()]);
    }
    return silent;
  }

  int sent = 1;
  std::vector<int> received, peers;
  std::vector<MPI_Request> requests;
};

/// Errors of MPI are returned while it lives: they are told in our words.
class ReturnedErrors {
 public:
  ReturnedErrors() {
    MPI_Comm_get_errhandler(MPI_COMM_WORLD, &before_);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  ~ReturnedErrors() {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, before_);
    MPI_Errhandler_free(&before_);
  }
  ReturnedErrors(const ReturnedErrors&) = delete;
  ReturnedErrors& operator=(const ReturnedErrors&) = delete;

 private:
  MPI_Errhandler before_ = MPI_ERRHANDLER_NULL;
};

[[noreturn]] void fail(int peer, double limit_seconds) {
  const Endpoint other = endpoint_of(peer);
  throw RunError(fmt::format("no message has come from rank {} ({}) in {}: {}", peer, other.host,
                             format_seconds(limit_seconds), connection_advice({host_name(), own_interfaces()}, other)));
}

}  // namespace

std::string connection_advice(const Endpoint& mine, const Endpoint& other) {
  std::string cause;
  for (const Interface& interface : same_addresses(mine.interfaces, other.interfaces))
    cause += fmt::format("both hosts have {}; ", to_text({interface}));
  const std::vector<std::string> networks = common_networks(mine.interfaces, other.interfaces);
  if (networks.empty()) {
    return fmt::format(
        "{}name the network that joins them with mpirun --mca btl_tcp_if_include NETWORK; {} has {}, {} has {}", cause,
        mine.host, to_text(mine.interfaces), other.host, to_text(other.interfaces));
  }
  return fmt::format(
      "{}choose the network with mpirun --mca btl_tcp_if_include {}, and let no firewall close TCP ports between them",
      cause, fmt::join(networks, " or "));
}

void require_connections(const MpiSession& session, double limit_seconds) {
  const int rank = session.rank(), size = session.size();
  if (size == 1) return;
  const ReturnedErrors errors;
  const double begun = now_seconds();
  bool published = false;
  // In the second round a rank says that it has heard from all: so those that have wait for those that have not.
  for (int number = 0; number < 2; ++number) {
    auto round = std::make_unique<Round>(rank, size, number);
    const double until = begun + limit_seconds + kBetweenRanks * rank + kLastResort * number;
    for (std::vector<int> silent = round->missing(); !silent.empty(); silent = round->missing()) {
      const double now = now_seconds();
      if (!published && now > begun + kPublishAfter) {
        publish_endpoint(rank);
        published = true;
      }
      if (now > until) {
        static_cast<void>(round.release());  // MPI may write into it as long as the process lives
        fail(silent.front(), limit_seconds);
      }
      sleep_until(now + kBetweenTests);
    }
  }
}

}  // namespace lshdp::comm
