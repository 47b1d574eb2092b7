// Whether a layout fits a device, and what would make it fit.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lshdp/explore/memory.h"
#include "lshdp/explore/settings.h"

namespace lshdp::explore {

/// Tight: it fits as long as memory does not fragment.
enum class Verdict : std::uint8_t { fits, tight, does_not_fit };
Verdict verdict(const StageMemory& worst, const Device& device);
std::string_view name_of(Verdict verdict);

/// The first change of `layout` after which it fits with its margin: a setting, two, or all; then a larger TP, PP or
/// CP, alone and with all settings. "sequence parallelism", "FULLY_SHARD and recomputation full", "TP 16 in place of
/// 8". Where none does: how many times the device's memory it takes.
std::string what_would_fit(const Model& model, const Trainer& trainer, const Layout& layout, const Device& device);

}  // namespace lshdp::explore
