// The ways in which a model's parameters lie over ranks.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace lshdp::parallel {

/// ddp: replicated; fsdp: fully sharded; lsdp: sharded within each node.
enum class Mode : std::uint8_t { ddp, fsdp, lsdp };

/// "ddp", "fsdp", "lsdp"; throws UsageError naming --mode otherwise.
Mode mode_from_text(std::string_view text);
std::string to_text(Mode mode);

}  // namespace lshdp::parallel
