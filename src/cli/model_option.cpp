// Models by rank 0's description.
#include "lshdp/cli/model_option.h"

#include "lshdp/comm/agree.h"
#include "lshdp/core/json.h"

namespace lshdp::cli {

model::Model shared_model(comm::Communicator& communicator, const std::string& preset_or_path) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const model::Model model = model::make_model(preset_or_path);
    return json_text(Json{{"name", model.name}, {"description", model.description}, {"dropout", model.dropout}});
  });
  const Json shared = parse_json(text, "--model");
  model::Model model = model::make_model_from_json(shared["description"], shared["name"]);
  model.dropout = shared["dropout"].get<std::vector<std::string>>();
  return model;
}

}  // namespace lshdp::cli
