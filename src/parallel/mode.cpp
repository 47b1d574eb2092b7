// Names of the modes.
#include "lshdp/parallel/mode.h"

#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::parallel {

Mode mode_from_text(std::string_view text) {
  if (text == "ddp") return Mode::ddp;
  if (text == "fsdp") return Mode::fsdp;
  if (text == "lsdp") return Mode::lsdp;
  throw UsageError(fmt::format("--mode: unknown mode '{}'; use ddp, fsdp or lsdp", text));
}

std::string to_text(Mode mode) {
  switch (mode) {
    case Mode::ddp:
      return "ddp";
    case Mode::fsdp:
      return "fsdp";
    case Mode::lsdp:
      return "lsdp";
  }
  throw std::invalid_argument("no such mode");
}

}  // namespace lshdp::parallel
