// Strategy: how a model's parameters lie over ranks, in which numbers they are computed and sent, and what is kept of a
// forward pass. Set-ups, profiles, plans, runs and checkpoints hold it in one form.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/core/wire.h"

namespace lshdp::plan {

/// ddp: replicated, the optimizer's state sharded (ZeRO-1); fsdp: fully sharded; lsdp: sharded within each node.
enum class Mode : std::uint8_t { ddp, fsdp, lsdp };

/// What the rest of the program may ask of a mode, in place of its name.
struct ModeTraits {
  const char* name;
  bool replicates;          // each rank's device holds all parameters
  bool gathers_every_pass;  // parameters travel once for every micro-batch, and passes are collective
  bool weights_shards;      // shards may follow the plan's shard_weights
  bool memory_shards;       // shards follow the budgets that were given
  bool streams;             // parameters stay in host memory, and as many blocks as fit are resident on the device
  bool shares_node_memory;  // the ranks of a node have one copy of the parameters in host memory
  bool offloads;            // takes `offload`
  bool rounds_wire;         // takes Wire::bf16
};
const ModeTraits& traits_of(Mode mode);

/// fp32 and fp64 keep and compute in one type; bf16 and fp16 compute in theirs with fp32 master weights, gradient sums
/// and moments. fp16 scales the loss.
enum class Precision : std::uint8_t { fp32, bf16, fp16, fp64 };

inline constexpr std::size_t kAllResident = std::numeric_limits<std::size_t>::max();

struct Strategy {
  Mode mode = Mode::ddp;
  bool offload = false;  // the rank's shards and their update in host memory
  Precision precision = Precision::fp32;
  Wire wire = Wire::exact;
  bool recompute = false;  // only block inputs are kept of forward; each block's forward runs again in backward
  bool offload_activations = false;          // with recompute: they wait in host memory
  std::optional<std::size_t> resident = {};  // first blocks that stay on the device; none: as many as fit

  bool operator==(const Strategy&) const = default;
};

/// Names as on the command line. The readers throw UsageError naming the option otherwise.
std::string to_text(Mode mode);
std::string to_text(Precision precision);
std::string to_text(Wire wire);
Mode mode_from_text(std::string_view text);
Precision precision_from_text(std::string_view text);
Wire wire_from_text(std::string_view text);

/// Throws UsageError naming the option that does not go with the others.
void require_valid(const Strategy& strategy);

/// Keys "mode", "offload", "precision", "wire", "recompute", "offload_activations", "resident" (null: as many as fit).
nlohmann::json to_json(const Strategy& strategy);
/// Takes these keys from an object that may have others; all but "mode" may be missing, then they are the defaults.
/// Throws UsageError naming the source and key.
Strategy strategy_from_json(const nlohmann::json& json, const std::string& source);

/// "ddp", "fsdp with offload"
std::string describe_mode(const Strategy& strategy);
/// "fp32", "bf16, rounded to bf16 on the wire"
std::string describe_numbers(const Strategy& strategy);

/// How a run of `actual` differs from what `source` was made for: "mode fsdp --offload, but this run has ddp", one
/// entry for each difference; empty: it does not. `resident` counts only where both say it.
std::vector<std::string> differences(const Strategy& planned, const Strategy& actual);

}  // namespace lshdp::plan
