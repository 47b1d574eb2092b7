// Fills in what the user left open, from the hosts and how many ranks share each.
#include "lshdp/measure/rank_setup.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/host_memory.h"

namespace lshdp::measure {
namespace {

constexpr int kMostThreads = 1024;

/// The entry of a list for this rank, or `otherwise` for an empty list.
template <typename T>
T choose(const std::vector<T>& values, T otherwise, const comm::Communicator& communicator, const char* option) {
  return values.empty() ? otherwise : value_of_rank(values, communicator.rank(), communicator.size(), option);
}

void check_speeds(comm::Communicator& communicator, const RankSetup& setup, const std::vector<std::string>& hosts) {
  const auto speeds = comm::all_gather_values(communicator, setup.speed);
  const auto threads = comm::all_gather_values(communicator, setup.threads);
  const auto cores = comm::all_gather_values(communicator, usable_cores());
  std::vector<RankSpeed> ranks;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    ranks.push_back({speeds[i], hosts[i], static_cast<int>(cores[i]), static_cast<int>(threads[i])});
  }
  comm::agree(communicator, [&] { validate_speeds(ranks); });
}

/// Budgets beyond what a host has are the user's word, but a host that runs out of memory kills processes without one.
void warn_of_crowded_hosts(comm::Communicator& communicator, const RankSetup& setup,
                           const std::vector<std::string>& hosts, std::int64_t available) {
  const auto budgets = comm::all_gather_values(communicator, static_cast<double>(setup.memory_bytes));
  const auto free = comm::all_gather_values(communicator, static_cast<double>(available));
  if (communicator.rank() != 0) return;
  std::map<std::string, std::pair<double, double>> sums;  // budgets, free
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    sums[hosts[i]].first += budgets[i];
    sums[hosts[i]].second = free[i];
  }
  for (const auto& [host, sum] : sums) {
    if (sum.first <= sum.second) continue;
    spdlog::warn("--memory: the ranks on {} may take {} together, but {} are free", host,
                 format_size(static_cast<std::int64_t>(sum.first)), format_size(static_cast<std::int64_t>(sum.second)));
  }
}

}  // namespace

RankSetup set_up_rank(comm::Communicator& communicator, const RankRequest& request) {
  const auto hosts = comm::all_gather_hosts(communicator);
  RankSetup setup{.mode = request.mode,
                  .offload = request.offload,
                  .precision = request.precision,
                  .wire = request.wire,
                  .recompute = request.recompute,
                  .resident = request.resident,
                  .device = request.device,
                  .host = hosts[static_cast<std::size_t>(communicator.rank())],
                  .given_memory_bytes = request.memory_bytes};
  const auto on_host = std::count(hosts.begin(), hosts.end(), setup.host);
  const bool emulated =
      std::any_of(request.speeds.begin(), request.speeds.end(), [](double speed) { return speed != 1; });
  std::int64_t available = 0;
  comm::agree(communicator, [&] {
    setup.speed = choose(request.speeds, 1.0, communicator, "--emulate-speed");
    const std::int64_t threads_each = emulated ? 1 : std::max<std::int64_t>(1, usable_cores() / on_host);
    const std::int64_t threads = choose(request.threads, threads_each, communicator, "--threads");
    if (threads < 1 || threads > kMostThreads) {
      throw UsageError(fmt::format("--threads: {} is not in 1..{}", threads, kMostThreads));
    }
    setup.threads = static_cast<int>(threads);
    available = available_host_memory();
    setup.spare_memory_bytes = static_cast<std::int64_t>(kMemoryShare * static_cast<double>(available)) / on_host;
    setup.memory_bytes = choose(request.memory_bytes, setup.spare_memory_bytes, communicator, "--memory");
    if (setup.memory_bytes < 1) throw UsageError("--memory: must be above 0");
  });
  check_speeds(communicator, setup, hosts);
  warn_of_crowded_hosts(communicator, setup, hosts, available);
  at::set_num_threads(setup.threads);
  return setup;
}

std::string memory_advice(const RankSetup& setup) {
  std::string advice = "raise --memory";
  if (!setup.recompute) advice += ", use --recompute";
  if (setup.mode == parallel::Mode::ddp) advice += ", use --mode fsdp or lsdp";
  if (setup.mode == parallel::Mode::fsdp && !setup.offload) advice += ", use --offload";
  return advice;
}

std::unique_ptr<HostMemoryScope> scope_of_values(const RankSetup& setup) {
  return setup.mode == parallel::Mode::ddp ? nullptr : std::make_unique<HostMemoryScope>();
}

parallel::StoreOptions store_options(const RankSetup& setup, const parallel::AdamW& adamw) {
  parallel::StoreOptions options{
      .mode = setup.mode, .precision = setup.precision, .adamw = adamw, .offload = setup.offload, .wire = setup.wire};
  // What a host happens to have free would shift shards from run to run: only budgets that were given decide.
  if (setup.mode == parallel::Mode::fsdp && setup.given_memory_bytes.size() > 1)
    options.shard_weights = setup.given_memory_bytes;
  if (setup.mode == parallel::Mode::ddp) options.shard_weights = setup.shard_weights;
  options.resident = setup.resident.value_or(0);
  return options;
}

}  // namespace lshdp::measure
