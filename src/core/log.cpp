// spdlog on stderr, as lshdp uses it.
#include "lshdp/core/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "lshdp/core/error.h"

namespace lshdp {

void configure_log(std::string_view level, int rank) {
  const auto chosen = spdlog::level::from_str(std::string(level));
  if (chosen == spdlog::level::off && level != "off") {
    throw UsageError(fmt::format("--log: unknown level '{}'; use debug, info, warn or off", level));
  }
  auto logger = std::make_shared<spdlog::logger>("lshdp", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern(rank == 0 ? "%^%L%$ %v" : fmt::format("%^%L%$ rank {}: %v", rank));
  logger->set_level(rank == 0 ? chosen : std::max(chosen, spdlog::level::err));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace lshdp
