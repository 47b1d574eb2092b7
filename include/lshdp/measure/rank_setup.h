// RankSetup: how a rank computes and what it may use, as max-batch, profile and train agree on it.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "lshdp/core/memory.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::measure {

/// What the user asks for. A list holds one value for all ranks or one per rank; an empty one leaves the choice to us.
struct RankRequest {
  plan::Strategy strategy;
  std::vector<std::string> devices;  // "auto", "cpu" or "cuda"
  std::vector<std::int64_t> memory_bytes;
  std::vector<std::int64_t> threads;
  std::vector<double> speeds;   // --emulate-speed
  std::int64_t data_bytes = 0;  // of data sets that this rank will hold in memory
};

/// What one rank works with.
struct RankSetup {
  plan::Strategy strategy;  // resident: none until with_resident_blocks() has decided
  std::string host;
  int threads = 1;
  double speed = 1;                     // share of a core (SpeedEmulator); 1: not emulated
  std::int64_t memory_bytes = 0;        // budget of the rank's tensors
  std::int64_t spare_memory_bytes = 0;  // this rank's part of what its device has free, whatever the budget says
  std::int64_t process_bytes = 0;       // what the process takes beside tensors, of which ..
  std::int64_t growth_bytes = 0;        // .. so much is still to come; data sets included
  std::string process_limit = {};       // "ulimit -v" where that is what bounds spare_memory_bytes
  std::vector<std::int64_t> given_memory_bytes;  // --memory as the user gave it, for shards of fsdp in proportion
  std::vector<std::int64_t> shard_weights = {};  // ddp: the plan's, by rank; empty: equal shards
  std::shared_ptr<ComputeDevice> compute_device = make_host_device();
  std::int64_t bucket_bytes = parallel::StoreOptions{}.bucket_bytes;  // the plan's, or the default
};

/// What would let such a rank train with less memory or with more, for messages: "raise --memory, or use --recompute".
std::string memory_advice(const RankSetup& setup);

/// For what holds a whole copy of the parameters for a moment: where the device never does (all modes but ddp), the
/// copy is host memory while this lives. Null for ddp.
std::unique_ptr<HostMemoryScope> scope_of_values(const RankSetup& setup);

/// The store that such ranks train with.
parallel::StoreOptions store_options(const RankSetup& setup, const parallel::AdamW& adamw = {});

/// How such ranks walk through a model.
parallel::WalkerOptions walker_options(const RankSetup& setup);

/// This rank's part of `request`, with defaults filled in: threads = the host's cores over its ranks (1 where speeds
/// are emulated), device = CUDA where a host has it and no speed is emulated, memory = kMemoryShare of what the host
/// has free, less what its processes will take beside tensors, or of what the CUDA device has, over its ranks, and no
/// more than the process's own limit leaves. The ranks of a host take its CUDA devices in turn. Sets LibTorch's
/// number of threads. Warns of budgets that a host cannot hold, and of a precision that a processor has no instructions
/// for. All ranks must call it; throws AgreedError on a list of wrong length, figures out of range, speeds a host
/// cannot keep, devices that are not there.
RankSetup set_up_rank(comm::Communicator& communicator, const RankRequest& request);

/// Over which such ranks exchange gradients and parameters, by `way`: null stands for `communicator` itself, which
/// takes them by way of the host: "mpi". "nccl": straight between CUDA devices; "hierarchical": so within each host,
/// and between hosts by way of the host's memory. "auto": nccl on one host, hierarchical on several with as many ranks
/// each, more than one, where every rank has a CUDA device for itself; and mpi otherwise. All ranks must call it;
/// throws AgreedError (naming --comm) where what was asked for cannot be.
std::unique_ptr<comm::Communicator> make_device_communicator(comm::Communicator& communicator, const std::string& way,
                                                             const RankSetup& setup);

}  // namespace lshdp::measure
