// One set of names for it.
#include "file_header.h"

namespace lshdp::measure {

Json file_header(const std::string& model, const RankSetup& setup) {
  return {{"version", 1},
          {"model", model},
          {"mode", parallel::to_text(setup.mode)},
          {"offload", setup.offload},
          {"precision", parallel::to_text(setup.precision)},
          {"wire", parallel::to_text(setup.wire)}};
}

}  // namespace lshdp::measure
