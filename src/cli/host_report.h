// What each rank says about its host before a run: program, libraries, cores, memory, clock, network; and what is
// wrong.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/comm/interfaces.h"
#include "lshdp/comm/same.h"
#include "lshdp/core/program.h"

namespace lshdp::cli {

struct HostReport {
  std::string node, machine;
  Program program;
  std::string executable;  // checksum
  comm::Facts libraries;   // name, version
  std::string devices;
  int own_cores = 0;      // in the affinity mask
  int allowed_cores = 0;  // that the host, or the control group, has for all
  int node_cores = 0;     // that the ranks of the node have together
  int threads = 0;        // that a rank takes
  std::int64_t free_memory = 0;
  double clock_seconds = 0;  // of the day, all ranks read at one time
  std::vector<comm::Interface> interfaces;
};

/// By rank. All ranks must call it.
std::vector<HostReport> gather_reports(comm::Communicator& communicator);

/// What is wrong, one line each: other programs and libraries, ranks bound to fewer cores than there are, clocks that
/// differ, addresses that several nodes have while no network is chosen (`network_chosen`).
std::vector<std::string> problems_of(const std::vector<HostReport>& reports, bool network_chosen);

/// Whether the user has told Open MPI which networks to take.
bool network_is_chosen();

}  // namespace lshdp::cli
