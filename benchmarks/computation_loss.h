// What a computation loses beside a transfer, and what the transfer needs of the CPU.
#pragma once
#include <functional>
#include <vector>

#include "lshdp/comm/communicator.h"

namespace lshdp {

/// What a rank's computation loses beside a transfer, what the transfer needs, and where the loss goes (in one round,
/// 1 - compute_lost = (1 - engine_share) (1 - cpu_missed) (1 - slowed)).
struct Loss {
  double compute_lost = 0;  // of its rate alone
  double needed_share = 0;  // of the CPU time that the process gets alone: what a transfer takes with no computation
                            // beside it, interrupts included
  double engine_share = 0;  // of the CPU time that the process got
  double cpu_missed = 0;    // of the CPU time a second that the process got when it computed alone
  double slowed = 0;        // of its rate in CPU time: cold caches, and interrupts that the kernel charges to it
};

/// All-reduces while every rank computes.
struct Beside {
  double seconds = 0;        // of the slowest rank, median
  double cpu_seconds = 0;    // of a rank's engine for one of them, mean
  std::vector<Loss> losses;  // by rank, each figure the median of the rounds
};

/// Nine rounds, of some seconds each, of computing alone, `transfer` alone and both, since a shared machine is faster
/// at one time than at another. All ranks must call it.
Beside measure_beside(comm::Communicator& communicator, const std::function<comm::Work()>& transfer);

}  // namespace lshdp
