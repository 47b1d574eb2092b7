// Emulated speeds by sleeping, and the check that a host can keep them.
#include "lshdp/core/emulate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"

namespace lshdp {
namespace {

struct HostLoad {
  double claimed = 0;  // cores
  int cores = 0;
};

std::map<std::string, HostLoad> load_by_host(std::span<const RankSpeed> ranks) {
  std::map<std::string, HostLoad> hosts;
  for (const RankSpeed& rank : ranks) {
    HostLoad& host = hosts[rank.host];
    host.claimed += rank.share * rank.threads;
    host.cores = std::max(host.cores, rank.cores);
  }
  return hosts;
}

/// All shares times `factor`, rounded down to three digits, as the option takes them.
std::string scaled_list(std::span<const RankSpeed> ranks, double factor) {
  std::string list;
  for (const RankSpeed& rank : ranks) {
    const double scaled = rank.share * factor;
    const double unit = std::pow(10.0, std::floor(std::log10(scaled)) - 2);
    list += fmt::format("{}{:.3g}", list.empty() ? "" : ",", std::floor(scaled / unit * (1 + 1e-12)) * unit);
  }
  return list;
}

}  // namespace

SpeedEmulator::SpeedEmulator(double share) : share_(share) {
  if (!(share > 0 && share <= 1)) throw std::invalid_argument("SpeedEmulator: the share must be in (0, 1]");
  begin();
}

void SpeedEmulator::begin() {
  if (share_ == 1) return;
  wall_begin_ = now_seconds();
  cpu_begin_ = thread_cpu_seconds();
}

void SpeedEmulator::pay() {
  if (share_ == 1) return;
  sleep_until(wall_begin_ + (thread_cpu_seconds() - cpu_begin_) / share_);
}

void validate_speeds(std::span<const RankSpeed> ranks) {
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (!(ranks[i].share > 0 && ranks[i].share <= 1)) {
      throw UsageError(fmt::format("--emulate-speed: {} for rank {} is not above 0 and at most 1", ranks[i].share, i));
    }
  }
  if (std::ranges::all_of(ranks, [](const RankSpeed& rank) { return rank.share == 1; })) return;
  double factor = 1;
  std::string crowded;
  for (const auto& [name, host] : load_by_host(ranks)) {
    const double fits = host.cores / host.claimed;
    if (fits >= std::min(factor, 1 - 1e-9)) continue;
    factor = fits;
    crowded = fmt::format("the ranks on {} add up to {:.3g} cores but it has {}", name, host.claimed, host.cores);
  }
  if (factor == 1) return;
  throw UsageError(fmt::format("--emulate-speed: {}, so the speeds cannot be kept; use --emulate-speed {}", crowded,
                               scaled_list(ranks, factor)));
}

}  // namespace lshdp
