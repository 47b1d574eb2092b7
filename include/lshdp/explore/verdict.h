// Whether a layout fits a device, and what would make it fit.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lshdp/explore/memory.h"
#include "lshdp/explore/search.h"
#include "lshdp/explore/settings.h"

namespace lshdp::explore {

/// Tight: it fits as long as memory does not fragment, and host memory has no buffers. host_unknown: it fits the
/// device, and needs host memory of which nothing is known.
enum class Verdict : std::uint8_t { fits, tight, host_unknown, does_not_fit };
/// Of the device's memory alone.
Verdict verdict(const StageMemory& worst, const Device& device);
/// Of a node's host, of which `node_host` bytes are needed; `cluster` may be null.
Verdict host_verdict(const Layout& layout, double node_host, const Cluster* cluster);
/// Of both. `settings` must have a device.
Verdict verdict(const Settings& settings, const Candidate& candidate);
std::string_view name_of(Verdict verdict);

/// The first change of `layout` after which it fits with its margin: a setting, two, or all; then a larger TP, PP or
/// CP, alone and with all settings. "sequence parallelism", "FULLY_SHARD and recomputation full", "TP 16 in place of
/// 8". Where none does: how many times the device's memory it takes, or the host's. With offload, host memory counts as
/// far as `cluster` tells it; where it does not, and the device is no obstacle, the answer is to give it.
std::string what_would_fit(const Model& model, const Trainer& trainer, const Layout& layout, const Device& device,
                           const Cluster* cluster = nullptr);

}  // namespace lshdp::explore
