// Wire: in which numbers float32 vectors travel between ranks.
#pragma once
#include <cstdint>

namespace lshdp {

/// exact: as they are; bf16: rounded, half the bytes.
enum class Wire : std::uint8_t { exact, bf16 };

}  // namespace lshdp
