// Adds up the host memory of stores, which is known from sizes alone.
#include "lshdp/measure/host_room.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/parallel/make_store.h"

namespace lshdp::measure {
namespace {

std::string advice(const RankSetup& setup) {
  if (plan::traits_of(setup.strategy.mode).shares_node_memory) {
    const bool wide =
        setup.strategy.precision == plan::Precision::fp32 || setup.strategy.precision == plan::Precision::fp64;
    return wide ? "take more hosts, or --precision bf16, or a smaller model" : "take more hosts, or a smaller model";
  }
  if (setup.strategy.offload) return "take more hosts, or leave out --offload";
  return "take more hosts, or a smaller model";
}

/// What this rank's store keeps in host memory beside --memory, its part of what its node shares included.
std::int64_t host_bytes(const comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                        const std::vector<std::string>& nodes, bool alone) {
  parallel::StoreOptions options = store_options(setup);
  for (std::size_t rank = 0; rank < nodes.size(); ++rank)
    options.node_names.push_back(alone ? std::to_string(rank) : nodes[rank]);
  const parallel::StoreMemory store = parallel::store_memory(model, options, communicator.rank(), communicator.size());
  return store.host.total() + store.node.total();
}

/// Of the whole copy of the parameters that scope_of_values() keeps out of the budget.
std::int64_t copy_bytes(const model::Model& model, const RankSetup& setup) {
  if (plan::traits_of(setup.strategy.mode).replicates) return 0;
  return model.trained_count() *
         static_cast<std::int64_t>(c10::elementSize(parallel::master_type(setup.strategy.precision)));
}

}  // namespace

std::vector<HostRoom> host_rooms(const std::vector<std::string>& hosts, const std::vector<std::int64_t>& store_bytes,
                                 const std::vector<std::int64_t>& free_bytes) {
  std::vector<HostRoom> rooms;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    auto room = std::ranges::find(rooms, hosts[rank], &HostRoom::host);
    if (room == rooms.end()) room = rooms.insert(room, {hosts[rank], 0, 0});
    room->needed_bytes += store_bytes[rank];
    room->free_bytes = std::max(room->free_bytes, free_bytes[rank]);
  }
  return rooms;
}

std::vector<HostRoom> gather_host_rooms(comm::Communicator& communicator, const std::vector<MemoryDomain>& domains,
                                        std::int64_t store_bytes) {
  std::vector<std::int64_t> stores, free_bytes;
  for (const double other : comm::all_gather_values(communicator, static_cast<double>(store_bytes)))
    stores.push_back(static_cast<std::int64_t>(other));
  std::vector<std::string> names;
  for (const MemoryDomain& domain : domains) {
    names.push_back(domain.name);
    free_bytes.push_back(domain.free_bytes);
  }
  return host_rooms(names, stores, free_bytes);
}

void require_host_room(const std::vector<HostRoom>& rooms, const RankSetup& setup) {
  for (const HostRoom& room : rooms) {
    if (room.needed_bytes <= room.free_bytes) continue;
    throw UsageError(fmt::format("--mode: {} keeps {} in the memory of {}, which has {} free; {}",
                                 plan::to_text(setup.strategy.mode), format_size(room.needed_bytes), room.host,
                                 format_size(room.free_bytes), advice(setup)));
  }
}

void require_host_room(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                       bool alone) {
  const comm::Hosts places = comm::gather_hosts(communicator);
  const std::vector<std::string>& hosts = places.nodes;
  const std::vector<MemoryDomain> domains =
      memory_domains(gather_rooms(communicator, places, !setup.compute_device->has_own_memory()));
  const std::int64_t bytes = host_bytes(communicator, model, setup, hosts, alone);
  const std::vector<HostRoom> rooms = gather_host_rooms(communicator, domains, bytes);
  comm::agree(communicator, [&] { require_host_room(rooms, setup); });
  const std::int64_t budget = setup.compute_device->has_own_memory() ? 0 : setup.memory_bytes;
  const std::vector<HostRoom> all = gather_host_rooms(
      communicator, domains, bytes + budget + setup.growth_bytes + (bytes > 0 ? copy_bytes(model, setup) : 0));
  for (std::size_t i = 0; i < rooms.size(); ++i) {
    if (communicator.rank() != 0 || rooms[i].needed_bytes == 0 || all[i].needed_bytes <= all[i].free_bytes) continue;
    spdlog::warn(
        "--mode: {} keeps {} in the memory of {}; with what --memory allows its ranks, and their processes, that may "
        "be {}, but {} are free: the kernel may end them; give --memory less",
        plan::to_text(setup.strategy.mode), format_size(rooms[i].needed_bytes), rooms[i].host,
        format_size(all[i].needed_bytes), format_size(all[i].free_bytes));
  }
}

std::string describe_memory(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup) {
  const std::vector<std::string> nodes = comm::gather_hosts(communicator).nodes;
  // A process sees all of its node's memory that it touches, whoever it is counted for.
  const std::int64_t beside = host_bytes(communicator, model, setup, nodes, /*alone=*/true);
  std::string text =
      fmt::format("memory of a rank: at most {} of tensors (--memory), about {} for its process beside them",
                  format_size(setup.memory_bytes), format_size(setup.process_bytes));
  if (beside > 0) {
    text += fmt::format(", and {} that {} keeps in the memory of its host", format_size(beside),
                        plan::to_text(setup.strategy.mode));
  }
  if (const std::int64_t copy = copy_bytes(model, setup); copy > 0)
    text += fmt::format("; {} more for a moment at the begin and the end, a copy of all parameters", format_size(copy));
  return text;
}

}  // namespace lshdp::measure
