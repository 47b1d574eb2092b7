// Options of how ranks compute.
#include "rank_options.h"

#include <optional>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::cli {
namespace {

constexpr double kLeastStandstill = 1;  // seconds; a busy machine is late by less

/// Blocks of the model that stay on the device; none: as many as fit.
std::optional<std::size_t> resident_blocks(const Values& values, plan::Mode mode) {
  if (values.has("resident") && !plan::traits_of(mode).streams)
    throw UsageError("--resident: only --mode lsdp streams parameters to the device");
  if (!values.has("resident") || values.text("resident") == "auto") return std::nullopt;
  if (values.text("resident") == "all") return plan::kAllResident;
  return static_cast<std::size_t>(values.integer("resident", 0));
}

plan::Strategy known_strategy(const Values& values) {
  const plan::Mode mode = plan::mode_from_text(values.choice("mode", {"ddp", "fsdp", "lsdp"}));
  const plan::Strategy strategy{
      .mode = mode,
      .offload = values.flag("offload"),
      .precision = plan::precision_from_text(values.choice("precision", {"fp32", "bf16", "fp16", "fp64"})),
      .wire = plan::wire_from_text(values.choice("wire", {"exact", "bf16"})),
      .recompute = values.flag("recompute"),
      .offload_activations = values.flag("offload-activations"),
      .resident = resident_blocks(values, mode)};
  plan::require_valid(strategy);
  return strategy;
}

/// One for all ranks, or one per rank.
std::vector<std::string> known_devices(const Values& values) {
  std::vector<std::string> devices = split_list(values.text("device"), "--device");
  for (const std::string& device : devices) {
    if (device != "auto" && device != "cpu" && device != "cuda")
      throw UsageError(
          fmt::format("--device: unknown '{}'; use auto, cpu or cuda, one for all ranks or one per rank", device));
  }
  return devices;
}

}  // namespace

void add_rank_options(Options& options) {
  options
      .option(
          "mode", "MODE",
          "how parameters lie over ranks: ddp (whole on each), fsdp (sharded over all) or lsdp (in host memory, once "
          "per node)",
          "ddp")
      .flag("offload", "fsdp: keep each rank's shard and its update in host memory, outside --memory")
      .option("resident", "K",
              "lsdp: the model's first K blocks stay on the device; auto: as many as --memory holds; or all")
      .option("precision", "TYPE", "fp32, bf16 or fp16 (compute in it, keep fp32; fp16 scales the loss) or fp64",
              "fp32")
      .option("wire", "TYPE", "what travels between ranks: exact, or bf16 (rounded: half the bytes)", "exact")
      .flag("recompute", "keep only block inputs and run each forward again in backward: less memory, more time")
      .flag("offload-activations", "with --recompute: block inputs wait for backward in host memory, outside --memory")
      .option("device", "DEVICE,..",
              "auto (CUDA where a rank's host has it), cpu or cuda; one for all ranks or one each", "auto")
      .option("memory", "SIZE,..",
              "budget of a rank's tensors (default: 80 % of what the host has free over its ranks)")
      .option("threads", "T,..", "threads a rank computes with (default: the host's cores over its ranks)")
      .option("emulate-speed", "S,..", "pretend that ranks have these shares of a core, e.g. 0.7,0.7,0.35,0.18")
      .option("standstill", "SECONDS", "name a rank that stands still within this time", "10")
      .option("operation-limit", "SECONDS", "end the run when a rank has stood still for so long (0: never)", "900")
      .per_rank({"device", "memory", "threads", "emulate-speed"});
}

measure::RankRequest rank_request(const Values& values) {
  measure::RankRequest request;
  request.strategy = known_strategy(values);
  request.devices = known_devices(values);
  if (values.has("memory")) request.memory_bytes = values.sizes("memory");
  if (values.has("threads")) request.threads = values.integers("threads", 1);
  if (values.has("emulate-speed")) request.speeds = values.reals("emulate-speed");
  return request;
}

comm::EngineOptions engine_options(const Values& values) {
  comm::EngineOptions options;
  if (values.has("standstill")) options.standstill_seconds = values.real("standstill", kLeastStandstill);
  if (values.has("operation-limit")) options.operation_limit_seconds = values.real("operation-limit", 0);
  if (options.operation_limit_seconds > 0 && options.operation_limit_seconds < options.standstill_seconds)
    throw UsageError(
        "--operation-limit: a rank must be named before it ends the run; take at least --standstill, or 0");
  return options;
}

void add_communicator_option(Options& options) {
  options.option("comm", "WAY",
                 "how devices exchange: mpi (by way of the host), nccl, hierarchical (nccl within hosts, mpi between), "
                 "or auto",
                 "auto");
}

std::string communicator_request(const Values& values) {
  const std::string& way = values.choice("comm", {"auto", "mpi", "nccl", "hierarchical"});
  const bool between_devices = way == "nccl" || way == "hierarchical";
  const bool rounded = values.text("wire") == "bf16", stages = values.has("layout") && values.text("layout") != "data";
  if (rounded && between_devices)
    throw UsageError("--wire: bf16 is for --comm mpi; between devices everything travels exactly");
  if (stages && between_devices)
    throw UsageError("--layout: stages exchange by way of the host; use --comm mpi, or --layout data");
  return rounded || stages ? "mpi" : way;
}

}  // namespace lshdp::cli
