// One set of names for it.
#include "file_header.h"

namespace lshdp::measure {

Json file_header(const std::string& model, const RankSetup& setup) {
  Json json = plan::to_json(setup.strategy);
  json["version"] = 1;
  json["model"] = model;
  return json;
}

}  // namespace lshdp::measure
