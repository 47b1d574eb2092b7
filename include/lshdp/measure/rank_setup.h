// RankSetup: how a rank computes and what it may use, as max-batch, profile and train agree on it.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/parallel/make_store.h"

namespace lshdp::measure {

/// What the user asks for. A list holds one value for all ranks or one per rank; an empty one leaves the choice to us.
struct RankRequest {
  parallel::Mode mode = parallel::Mode::ddp;
  bool offload = false;
  parallel::Precision precision = parallel::Precision::fp32;
  comm::Wire wire = comm::Wire::exact;
  bool recompute = false;
  std::optional<std::size_t> resident;  // lsdp: blocks that stay on the device; none: as many as fit
  std::string device = "cpu";
  std::vector<std::int64_t> memory_bytes;
  std::vector<std::int64_t> threads;
  std::vector<double> speeds;  // --emulate-speed
};

/// What one rank works with.
struct RankSetup {
  parallel::Mode mode = parallel::Mode::ddp;
  bool offload = false;
  parallel::Precision precision = parallel::Precision::fp32;
  comm::Wire wire = comm::Wire::exact;
  bool recompute = false;
  std::optional<std::size_t> resident;  // none: 0 until resident_blocks() has decided
  std::string device = "cpu";
  std::string host;
  int threads = 1;
  double speed = 1;                              // share of a core (SpeedEmulator); 1: not emulated
  std::int64_t memory_bytes = 0;                 // budget of the rank's tensors
  std::int64_t spare_memory_bytes = 0;           // this rank's part of what its host has free, whatever the budget says
  std::vector<std::int64_t> given_memory_bytes;  // --memory as the user gave it, for shards of fsdp in proportion
  std::vector<std::int64_t> shard_weights = {};  // ddp: the plan's, by rank; empty: equal shards
};

/// What would let such a rank train with less memory or with more, for messages: "raise --memory, or use --recompute".
std::string memory_advice(const RankSetup& setup);

/// For what holds a whole copy of the parameters for a moment: where the device never does (all modes but ddp), the
/// copy is host memory while this lives. Null for ddp.
std::unique_ptr<HostMemoryScope> scope_of_values(const RankSetup& setup);

/// The store that such ranks train with.
parallel::StoreOptions store_options(const RankSetup& setup, const parallel::AdamW& adamw = {});

/// This rank's part of `request`, with defaults filled in: threads = the host's cores over its ranks (1 where speeds
/// are emulated), memory = kMemoryShare of what the host has free over its ranks. Sets LibTorch's number of threads.
/// All ranks must call it; throws AgreedError on a list of wrong length, figures out of range, speeds a host cannot
/// keep.
RankSetup set_up_rank(comm::Communicator& communicator, const RankRequest& request);

}  // namespace lshdp::measure
