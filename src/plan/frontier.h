// Totals against samples per second: the best total, and what other totals would reach.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/plan/solver.h"
#include "ranks.h"

namespace lshdp::plan {

struct Frontier {
  TotalChoice choice;  // best_total: of equals, the smallest
  std::vector<FrontierPoint>
      points;  // by total, rising: some 60 spread over all totals, the best, the chosen, the largest
};

/// Compares all totals that the ranks can take, exactly, and chooses one as SolverOptions say.
///
/// The best total is found at a breakpoint of some f_r: between two values that f_1, f_2, .. take, more time brings no
/// more samples, so samples per second is highest where the step takes exactly f_r(b) of some rank r and batch b and
/// every rank takes all it can in that time. Those times, one per batch and kind of rank, are sorted and visited in
/// order, each with the total it allows. Throws UsageError if they are too many.
Frontier sweep_totals(Ranks& ranks, const SolverOptions& options);

}  // namespace lshdp::plan
