// What a rank's memory goes to, predicted from sizes and measured in a step.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/store_memory.h"

namespace lshdp::measure {

/// Bytes of one rank that trains micro-batches of `batch` samples.
struct MemoryReport {
  int rank = 0;
  std::string host;
  std::int64_t batch = 0;
  std::int64_t budget_bytes = 0;
  std::size_t resident = 0;  // lsdp: blocks whose parameters stay on the device
  std::size_t blocks = 0;    // of the model

  // Predicted.
  parallel::StoreMemory store;  // from the sizes of its arenas
  std::int64_t data_bytes = 0;  // the batch in work and those loaded ahead, on the device
  std::int64_t step_bytes = 0;  // the most that a step adds: activations, gradients on their way, temporary tensors
  std::array<std::int64_t, 2> from{};  // the batches whose measured steps step_bytes is drawn from, on a straight line
  std::int64_t predicted_device_bytes() const { return store.device.total() + data_bytes + step_bytes; }
  std::int64_t predicted_host_bytes() const { return store.host.total() + store.node.total(); }

  // Measured.
  std::int64_t measured_store_bytes = 0;   // device, between steps
  std::int64_t measured_device_bytes = 0;  // the most in a step of `batch` samples
  std::int64_t measured_host_bytes = 0;    // as if this rank were alone on its node
  // Of the process: beside tensors as it was expected at the start, and all that was resident at most.
  std::int64_t process_bytes = 0;
  std::int64_t peak_resident_bytes = 0;
};

/// Makes the store and trains steps of a quarter and of half of `batch` samples, and of `batch`, without the network
/// and with all that the host has to spare, whatever the budget. lsdp: with as many resident blocks as `setup` says, or
/// where it leaves that open, as its budget holds beside a micro-batch of `batch` samples.
/// Throws RunError where the host has not got enough, std::invalid_argument for a batch below 4.
MemoryReport report_memory(const model::Model& model, const RankSetup& setup, int rank, int ranks, MemoryBudget& budget,
                           std::int64_t batch);

/// All ranks at once, each for its own of `batches` (one for all, or one for each); every rank gets all reports, by
/// rank. All ranks must call it.
std::vector<MemoryReport> report_memory_of_ranks(comm::Communicator& communicator, const model::Model& model,
                                                 const RankSetup& setup, MemoryBudget& budget,
                                                 const std::vector<std::int64_t>& batches);

/// memory.json, version 1: model, mode, offload, precision, wire and the fields above by rank.
nlohmann::json memory_to_json(const std::vector<MemoryReport>& reports, const std::string& model,
                              const RankSetup& setup);

}  // namespace lshdp::measure
