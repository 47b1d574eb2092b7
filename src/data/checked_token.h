// The check of tokens that are decoded.
#pragma once
#include <cstddef>
#include <cstdint>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::data {

/// `token` as an index. Throws UsageError unless it is in [0, vocabulary).
inline std::size_t checked_token(std::int64_t token, std::int64_t vocabulary) {
  if (token >= 0 && token < vocabulary) return static_cast<std::size_t>(token);
  throw UsageError(fmt::format("token {} is not in the vocabulary; it must be from 0 to {}", token, vocabulary - 1));
}

}  // namespace lshdp::data
