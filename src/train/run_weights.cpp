// Rank 0 writes weights while all ranks gather them, a bucket at a time.
#include "run_weights.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <memory>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/peft.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/weights.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBest = "best";
constexpr const char* kStep = "step";
constexpr const char* kLoss = "evaluation_loss";
constexpr const char* kSetAside = "abandoned-step-";
constexpr const char* kExtension = ".safetensors";

/// The files under way on rank 0. One that fails must not keep the rank from gathering with the others: the error
/// waits.
class Files {
 public:
  Files(const model::Model& model, at::ScalarType type, const std::vector<fs::path>& paths,
        const std::map<std::string, std::string>& metadata, bool adapter)
      : model_(model), adapter_(adapter) {
    guarded([&] {
      const auto shapes = adapter ? model::adapter_shapes(model, type) : model::tensor_shapes(model, type);
      for (const fs::path& path : paths)
        writers_.push_back(std::make_unique<model::SafetensorsWriter>(path, shapes, metadata));
    });
  }

  void write(std::size_t block, std::size_t parameter, const at::Tensor& value) {
    guarded([&] {
      const std::string& name = model_.blocks[block]->parameters()[parameter].name;
      for (const auto& writer : writers_) writer->write(adapter_ ? model::peft_name(name) : name, value);
    });
  }

  /// What no store holds in the type of these files.
  void write_frozen(const model::BlockValues& values, at::ScalarType type) {
    for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
      const auto& parameters = model_.blocks[block]->parameters();
      if (std::ranges::all_of(parameters, &model::Parameter::trainable)) continue;
      guarded([&] {
        const std::vector<at::Tensor> of_block = values(block);
        for (std::size_t i = 0; i < parameters.size(); ++i) {
          if (!parameters[i].trainable) write(block, i, of_block[i].to(type));
        }
      });
    }
  }

  void commit() {
    if (error_) std::rethrow_exception(error_);
    for (const auto& writer : writers_) writer->commit();
  }

 private:
  template <typename Work>
  void guarded(const Work& work) {
    if (error_) return;
    try {
      work();
    } catch (...) {
      error_ = std::current_exception();
      writers_.clear();
    }
  }

  const model::Model& model_;
  bool adapter_;
  std::vector<std::unique_ptr<model::SafetensorsWriter>> writers_;
  std::exception_ptr error_;
};

/// What an earlier launch of the run says of weights that it kept: step and loss; null: nothing.
Json kept_weights(const fs::path& file) {
  if (!fs::exists(file)) return {};
  const auto metadata = model::read_safetensors_metadata(file);
  if (!metadata.contains(kStep)) return {};
  Json kept{{kStep, parse_int(metadata.at(kStep), file.string())}};
  if (metadata.contains(kLoss)) kept[kLoss] = parse_double(metadata.at(kLoss), file.string());
  return kept;
}

/// A free name in `folder`: the run may have gone back before the same step more than once.
fs::path name_aside(const fs::path& folder, std::int64_t step) {
  fs::path name = folder / fmt::format("{}{}{}", kSetAside, step, kExtension);
  for (int number = 2; fs::exists(name); ++number)
    name = folder / fmt::format("{}{}-{}{}", kSetAside, step, number, kExtension);
  return name;
}

/// Weights of steps that are done again are no longer this run's.
void put_aside(const fs::path& file, std::int64_t first_step) {
  const Json kept = kept_weights(file);
  if (kept.is_null() || kept[kStep] <= first_step) return;
  const auto step = kept[kStep].get<std::int64_t>();
  const fs::path aside = name_aside(file.parent_path(), step);
  std::error_code error;
  fs::rename(file, aside, error);
  if (error) throw WriteError(aside.string(), error.message());
  spdlog::warn("the weights of step {} that the run had kept are now {}", step, aside.string());
}

/// However the two are spelled; neither need be there yet.
bool is_same_place(const fs::path& a, const fs::path& b) {
  return fs::weakly_canonical(fs::absolute(a)) == fs::weakly_canonical(fs::absolute(b));
}

/// Looked at before the work: at its end it would be lost.
void require_room(const fs::path& folder, std::int64_t bytes, std::string_view option) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= static_cast<std::uintmax_t>(bytes)) return;
  throw RunError(fmt::format(
      "{}: No space left on device: {} has {} free, but the weights take {}; make room, or take another one", option,
      folder.string(), format_size(static_cast<std::int64_t>(space.available)), format_size(bytes)));
}

}  // namespace

bool is_set_aside(const fs::path& weights) {
  return weights.filename().string().starts_with(kSetAside) && weights.extension() == kExtension;
}

namespace {

/// As others load it: the folder, where the file in it is the one that they look for.
fs::path base_of(const fs::path& init) {
  if (init.empty()) return {};
  const fs::path path = fs::absolute(init).lexically_normal();
  const fs::path name = path.filename();
  return name == model::kWeightsFile || name == model::kShardsFile ? path.parent_path() : path;
}

}  // namespace

RunWeights::RunWeights(comm::Communicator& communicator, const model::Model& model, parallel::StateAccess& store,
                       RunWeightsOptions options)
    : communicator_(communicator),
      model_(model),
      store_(&store),
      options_(std::move(options)),
      adapter_(model::lora_of(model).has_value()) {}

const char* RunWeights::file_name() const { return adapter_ ? model::kAdapterFile : model::kWeightsFile; }

void RunWeights::write_config(const fs::path& folder) const {
  if (adapter_) {
    write_json(folder / model::kAdapterConfigFile, model::adapter_config(model_, base_of(options_.base).string()));
  } else {
    write_json(folder / model::kConfigFile, model::config_of(model_, parallel::master_type(options_.precision)));
  }
}

/// Of a file of weights.
std::int64_t RunWeights::bytes() const {
  return (adapter_ ? model_.trained_count() : model_.parameter_count()) *
         static_cast<std::int64_t>(at::elementSize(parallel::master_type(options_.precision)));
}

void RunWeights::begin(std::int64_t first_step) {
  const std::int64_t bytes = this->bytes();
  const std::string text = comm::on_rank_0(communicator_, [&]() -> std::string {
    if (!options_.results.empty())
      require_room(options_.results, options_.keep_best ? 2 * bytes : bytes, options_.results_option);
    if (!options_.save.empty()) require_room(fs::absolute(options_.save).parent_path(), bytes, "--save");
    if (options_.results.empty()) {
      if (options_.save.empty())
        spdlog::warn("neither --results nor --save is given: nothing of this run will be kept, not even its weights");
      return "null";
    }
    write_config(options_.results);
    const fs::path best = options_.results / kBest / file_name();
    put_aside(options_.results / file_name(), first_step);
    put_aside(best, first_step);
    return options_.keep_best ? json_text(kept_weights(best)) : "null";
  });
  const Json kept = Json::parse(text);
  if (kept.contains(kLoss)) best_ = {kept[kStep], kept[kLoss]};
}

bool RunWeights::evaluated(const EvaluationRecord& record) {
  const double least = best_ ? best_->loss : std::numeric_limits<double>::infinity();
  if (!options_.keep_best || !(record.loss < least)) return false;
  best_ = {record.step, record.loss};
  require_finite(record.step);
  const fs::path folder = options_.results / kBest;
  comm::on_rank_0(communicator_, [&] {
    const NewFolders made = require_writable_folder(folder, "--keep-best");
    write_config(folder);
    return std::string();
  });
  write({folder / file_name()}, {{kStep, std::to_string(record.step)}, {kLoss, fmt::format("{}", record.loss)}});
  return true;
}

void RunWeights::finish(std::int64_t step) {
  std::vector<fs::path> paths;
  if (!options_.results.empty()) paths.push_back(options_.results / file_name());
  // The same file under another name would be written twice at once.
  if (!options_.save.empty() && !(paths.size() == 1 && is_same_place(options_.save, paths.front())))
    paths.push_back(options_.save);
  if (!paths.empty()) write(paths, {{kStep, std::to_string(step)}});
}

Json RunWeights::best() const {
  if (!best_) return {};
  return {{"step", best_->step}, {"loss", best_->loss}};
}

void RunWeights::require_finite(std::int64_t step) {
  comm::agree(communicator_, [&] {
    for (const parallel::StatePiece& piece : store_->owned_state()) {
      if (piece.value.isfinite().all().item<bool>()) continue;
      throw RunError(
          fmt::format("the weights are not finite after step {}: {} is not; they were not kept; try a smaller "
                      "--lr, or --clip",
                      step, model_.blocks[piece.block]->parameters()[piece.parameter].name));
    }
  });
}

void RunWeights::write(const std::vector<fs::path>& paths, const std::map<std::string, std::string>& metadata) {
  std::unique_ptr<Files> files;  // rank 0
  const at::ScalarType type = parallel::master_type(options_.precision);
  if (communicator_.rank() == 0) files = std::make_unique<Files>(model_, type, paths, metadata, adapter_);
  store_->gather_each([&](std::size_t block, std::size_t parameter, const at::Tensor& value) {
    if (files) files->write(block, parameter, value);
  });
  comm::on_rank_0(communicator_, [&] {
    if (options_.first_values) files->write_frozen(options_.first_values, type);
    files->commit();
    return std::string();
  });
}

}  // namespace lshdp::train
