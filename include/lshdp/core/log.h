// The log: one line an event on stderr, from rank 0 unless a rank fails.
#pragma once
#include <string_view>

#include <spdlog/spdlog.h>

namespace lshdp {

/// Sets the process's log up: level "debug", "info", "warn" or "off" for rank 0, warnings and worse of other ranks with
/// the rank in front. Throws UsageError on another level. Call once, before any other thread logs.
void configure_log(std::string_view level, int rank);

}  // namespace lshdp
