// Fills in what the user left open, from the hosts and how many ranks share each.
#include "lshdp/measure/rank_setup.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "half_speed.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/core/cuda.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/host_memory.h"
#include "lshdp/measure/host_room.h"
#include "lshdp/measure/machine_share.h"

namespace lshdp::measure {
namespace {

constexpr int kMaxThreads = 1024;
constexpr std::int64_t kMinBudget = 1 << 20;  // of a host that is full: too little, which the probe will say

/// The entry of a list for this rank, or `otherwise` for an empty list.
template <typename T>
T choose(const std::vector<T>& values, T otherwise, const comm::Communicator& communicator, const char* option) {
  return values.empty() ? otherwise : value_of_rank(values, communicator.rank(), communicator.size(), option);
}

bool computes_on_cuda(const std::string& wish, double speed, const std::string& host) {
  if (wish == "auto") return speed == 1 && cuda_device_count() > 0;
  if (wish != "cuda") return false;
  if (speed != 1) throw UsageError("--emulate-speed: only CPU ranks can be slowed down; use --device cpu");
  if (!built_with_cuda())
    throw UsageError("--device: this build has no CUDA; configure it with -DLSHDP_CUDA=ON, or use cpu");
  if (cuda_device_count() == 0) throw UsageError(fmt::format("--device: {} has no CUDA device; use cpu there", host));
  return true;
}

/// What this rank computes on, and how many ranks share it.
struct ChosenDevice {
  std::shared_ptr<ComputeDevice> device;
  std::int64_t ranks = 1;
};

ChosenDevice choose_device(comm::Communicator& communicator, const RankRequest& request, double speed,
                           const std::vector<std::string>& hosts) {
  const auto rank = static_cast<std::size_t>(communicator.rank());
  bool cuda = false;
  comm::agree(communicator, [&] {
    const std::string wish = choose<std::string>(request.devices, "auto", communicator, "--device");
    cuda = computes_on_cuda(wish, speed, hosts[rank]);
  });
  const auto on_cuda = comm::all_gather_values(communicator, cuda ? 1 : 0);
  std::int64_t before = 0, all = 0;
  for (std::size_t other = 0; other < hosts.size(); ++other) {
    if (hosts[other] != hosts[rank] || (on_cuda[other] == 1) != cuda) continue;
    ++all;
    if (other < rank) ++before;
  }
  ChosenDevice chosen{make_host_device(), all};
  comm::agree(communicator, [&] {
    if (!cuda) return;
    const std::int64_t count = cuda_device_count(), index = before % count;
    chosen = {make_cuda_device(static_cast<int>(index)), (all - index + count - 1) / count};
  });
  return chosen;
}

void check_speeds(comm::Communicator& communicator, const RankSetup& setup, const std::vector<RankRoom>& rooms) {
  const auto speeds = comm::all_gather_values(communicator, setup.speed);
  const auto threads = comm::all_gather_values(communicator, setup.threads);
  std::vector<RankSpeed> ranks;
  for (std::size_t i = 0; i < rooms.size(); ++i) {
    ranks.push_back({speeds[i], rooms[i].machine, machine_cores(rooms, i), static_cast<int>(threads[i])});
  }
  comm::agree(communicator, [&] { validate_speeds(ranks); });
}

/// Budgets of CPU ranks beyond what a host has are the user's word, but a host that runs out of memory kills processes
/// without one.
void warn_of_crowded_hosts(comm::Communicator& communicator, const RankSetup& setup,
                           const std::vector<MemoryDomain>& domains) {
  const std::int64_t budget = setup.compute_device->has_own_memory() ? 0 : setup.memory_bytes;
  const std::vector<HostRoom> rooms = gather_host_rooms(communicator, domains, budget + setup.growth_bytes);
  for (const HostRoom& room : rooms) {
    if (communicator.rank() != 0 || room.needed_bytes <= room.free_bytes) continue;
    spdlog::warn(
        "--memory: the ranks on {} may take {} together, what their processes need beside tensors included, but {} are "
        "free: the kernel may end them; give them less",
        room.host, format_size(room.needed_bytes), format_size(room.free_bytes));
  }
}

/// Who takes another number of threads than the cores allow, because OMP_NUM_THREADS says so.
void tell_threads_of_environment(comm::Communicator& communicator, int threads, int cores) {
  const auto taken = comm::all_gather_values(communicator, threads);
  const auto possible = comm::all_gather_values(communicator, cores);
  for (std::size_t rank = 0; rank < taken.size() && communicator.rank() == 0; ++rank) {
    if (taken[rank] == possible[rank]) continue;
    spdlog::info(
        "OMP_NUM_THREADS gives rank {} {:.0f} threads, where {:.0f} cores are its own; --threads decides otherwise",
        rank, taken[rank], possible[rank]);
    return;
  }
}

int choose_threads(comm::Communicator& communicator, const RankRequest& request, bool emulated, int cores) {
  const std::optional<int> environment = emulated ? std::nullopt : threads_of_environment();
  std::int64_t threads = 1;
  comm::agree(communicator, [&] {
    const int otherwise = environment.value_or(emulated ? 1 : cores);
    threads = choose<std::int64_t>(request.threads, otherwise, communicator, "--threads");
    if (threads < 1 || threads > kMaxThreads) {
      throw UsageError(fmt::format("--threads: {} is not in 1..{}", threads, kMaxThreads));
    }
  });
  const bool by_environment = request.threads.empty() && environment;
  tell_threads_of_environment(communicator, static_cast<int>(threads),
                              by_environment ? cores : static_cast<int>(threads));
  return static_cast<int>(threads);
}

/// A process with a limit of its own fails at it, whatever the host has.
void heed_process_limit(RankSetup& setup) {
  const std::optional<ProcessLimit> limit = process_limit();
  if (!limit || setup.compute_device->has_own_memory()) return;
  const auto left =
      static_cast<std::int64_t>(kMemoryShare * static_cast<double>(limit->left_bytes - setup.growth_bytes));
  if (left >= setup.spare_memory_bytes) return;
  setup.spare_memory_bytes = std::max(kMinBudget, left);
  setup.process_limit = limit->name;
}

/// Libraries compute what a processor has no instructions for step by step.
void warn_of_slow_precision(comm::Communicator& communicator, const RankSetup& setup) {
  constexpr double kSlow = 1.5;
  const double mine = setup.compute_device->has_own_memory() ? 1 : product_slowness(setup.strategy.precision);
  const std::vector<double> all = comm::all_gather_values(communicator, mine);
  const auto slowest = std::ranges::max_element(all);
  if (communicator.rank() != 0 || *slowest < kSlow) return;
  spdlog::warn(
      "--precision {}: matrix products take about {:.0f} times as long as in fp32 on rank {} (measured), whose "
      "processor or libraries have no instructions for it; fp32 is faster there",
      plan::to_text(setup.strategy.precision), *slowest, slowest - all.begin());
}

}  // namespace

RankSetup set_up_rank(comm::Communicator& communicator, const RankRequest& request) {
  const comm::Hosts places = comm::gather_hosts(communicator);
  const std::vector<std::string>& hosts = places.nodes;
  const auto rank = static_cast<std::size_t>(communicator.rank());
  if (communicator.rank() == 0) spdlog::info("{}", comm::describe(places));
  RankSetup setup{.strategy = request.strategy, .host = hosts[rank], .given_memory_bytes = request.memory_bytes};
  const bool emulated =
      std::any_of(request.speeds.begin(), request.speeds.end(), [](double speed) { return speed != 1; });
  comm::agree(communicator, [&] { setup.speed = choose(request.speeds, 1.0, communicator, "--emulate-speed"); });
  const ChosenDevice chosen = choose_device(communicator, request, setup.speed, hosts);
  setup.compute_device = chosen.device;
  const std::vector<RankRoom> rooms = gather_rooms(communicator, places, !chosen.device->has_own_memory());
  const std::vector<MemoryDomain> domains = memory_domains(rooms);
  setup.threads = choose_threads(communicator, request, emulated, core_share(rooms, rank));
  comm::agree(communicator, [&] {
    const bool apart = chosen.device->has_own_memory();
    setup.growth_bytes = kProcessGrowth + request.data_bytes;
    setup.process_bytes = process_memory().resident_bytes + setup.growth_bytes;
    // What the domain's other processes will take beside tensors is not free either.
    const std::int64_t available =
        apart ? chosen.device->free_memory() : domains[rank].free_bytes - domains[rank].ranks * setup.growth_bytes;
    setup.spare_memory_bytes =
        static_cast<std::int64_t>(kMemoryShare * static_cast<double>(std::max<std::int64_t>(kMinBudget, available))) /
        (apart ? chosen.ranks : domains[rank].ranks);
    heed_process_limit(setup);
    setup.memory_bytes = choose(request.memory_bytes, setup.spare_memory_bytes, communicator, "--memory");
    if (setup.memory_bytes < 1) throw UsageError("--memory: must be above 0");
  });
  check_speeds(communicator, setup, rooms);
  warn_of_crowded_hosts(communicator, setup, domains);
  at::set_num_threads(setup.threads);
  warn_of_slow_precision(communicator, setup);
  return setup;
}

std::string memory_advice(const RankSetup& setup) {
  std::string advice = setup.process_limit.empty() ? "raise --memory"
                                                   : fmt::format("raise the process's limit ({})", setup.process_limit);
  if (!setup.strategy.recompute)
    advice += ", use --recompute";
  else if (!setup.strategy.offload_activations)
    advice += ", use --offload-activations";
  const plan::ModeTraits& traits = plan::traits_of(setup.strategy.mode);
  if (traits.replicates) advice += ", use --mode fsdp or lsdp";
  if (traits.offloads && !setup.strategy.offload) advice += ", use --offload";
  return advice;
}

std::unique_ptr<HostMemoryScope> scope_of_values(const RankSetup& setup) {
  return plan::traits_of(setup.strategy.mode).replicates ? nullptr : std::make_unique<HostMemoryScope>();
}

parallel::StoreOptions store_options(const RankSetup& setup, const parallel::AdamW& adamw) {
  parallel::StoreOptions options{.strategy = setup.strategy, .adamw = adamw};
  const plan::ModeTraits& traits = plan::traits_of(setup.strategy.mode);
  // What a host happens to have free would shift shards from run to run: only budgets that were given decide.
  if (traits.memory_shards && setup.given_memory_bytes.size() > 1) options.shard_weights = setup.given_memory_bytes;
  if (traits.weights_shards) options.shard_weights = setup.shard_weights;
  options.bucket_bytes = setup.bucket_bytes;
  options.device = setup.compute_device;
  return options;
}

parallel::WalkerOptions walker_options(const RankSetup& setup) {
  return {.precision = setup.strategy.precision,
          .recompute = setup.strategy.recompute,
          .offload_activations = setup.strategy.offload_activations,
          .device = setup.compute_device};
}

}  // namespace lshdp::measure
