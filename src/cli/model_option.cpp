// Models by rank 0's description.
#include "model_option.h"

#include <functional>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"

namespace lshdp::cli {

namespace {

model::Model shared(comm::Communicator& communicator, const std::function<std::string()>& preset_or_path) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const model::Model model = model::make_model(preset_or_path());
    return json_text(Json{{"name", model.name}, {"description", model.description}, {"dropout", model.dropout}});
  });
  const Json said = parse_json(text, "--model");
  model::Model model = model::make_model_from_json(said["description"], said["name"]);
  model.dropout = said["dropout"].get<std::vector<std::string>>();
  return model;
}

}  // namespace

model::Model shared_model(comm::Communicator& communicator, const std::string& preset_or_path) {
  return shared(communicator, [&] { return preset_or_path; });
}

std::string model_of_weights(const Values& values, const train::SavedModel& saved) {
  if (values.has("model")) return values.text("model");
  if (!saved.config.empty()) return saved.config.string();
  throw UsageError(
      fmt::format("--model MODEL is missing: nothing says what model the weights {} are of", saved.weights.string()));
}

model::Model shared_model_of_weights(comm::Communicator& communicator, const Values& values) {
  return shared(communicator, [&] {
    if (values.has("model")) return values.text("model");
    return model_of_weights(values, train::find_saved_model(values.text("init"), "--init"));
  });
}

}  // namespace lshdp::cli
