// What run.json says of the training set.
#include "lshdp/train/trained_data.h"

#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/data/matching.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/run_file.h"

namespace lshdp::train {

namespace fs = std::filesystem;

data::DatasetInfo trained_tokens_of(const Json& training_set) {
  const Json& record = training_set.at("data");
  const std::string source = training_set.at("source");
  data::DatasetInfo info;
  info.kind = data::DatasetInfo::Kind::tokens;
  info.vocabulary = json_value_or<std::int64_t>(record, "vocabulary", 0, source);
  info.tokenizer = json_value_or<std::string>(record, "tokenizer", "", source);
  info.tokenizer_checksum = json_value_or<std::string>(record, "tokenizer_checksum", "", source);
  return info;
}

Json training_set_of(const SavedModel& saved) {
  if (saved.run.empty()) return nullptr;
  const Json launch = read_last_launch(saved.run);
  if (!launch.is_object() || !launch.contains("data") || !launch["data"].is_object()) return nullptr;
  return {{"data", launch["data"]}, {"source", (saved.run / "run.json").string()}};
}

std::unique_ptr<data::Dataset> as_trained(std::unique_ptr<data::Dataset> dataset, const fs::path& path,
                                          const Json& training_set) {
  if (training_set.is_null()) {
    if (dataset->info().kind == data::DatasetInfo::Kind::images)
      spdlog::warn(
          "{}: classes are numbered and images normalised as the file itself says, because nothing beside the weights "
          "says what they were trained on; --trained-on TRAIN.h5 does",
          printable(path.string()));
    return dataset;
  }
  const Json& record = training_set.at("data");
  const std::string source = training_set.at("source");
  const fs::path name = json_value_or<std::string>(record, "path", source, source);
  if (json_value<std::string>(record, "kind", source) == "images")
    return data::matched(std::move(dataset), path.string(), data::trained_on(record, name.string()));
  const data::DatasetInfo trained = trained_tokens_of(training_set);
  require_same_tokenizer({name, trained}, {path, dataset->info()});
  return dataset;
}

}  // namespace lshdp::train
