// Model: a chain of blocks with what goes in and what comes out; presets and JSON descriptions.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/model/block.h"

namespace lshdp::model {

/// What a model reads and predicts.
struct InputSpec {
  enum class Kind : std::uint8_t { image, flat, tokens } kind = Kind::image;
  // image: float [B, channels, image_size, image_size]. flat: float, any [B, ...] with input_size values a sample.
  std::int64_t channels = 0;
  std::int64_t image_size = 0;
  std::int64_t input_size = 0;
  std::int64_t classes = 0;  // image, flat: int64 targets [B] in [0, classes); logits [B, classes]
  // tokens: int64 [B, context] in [0, vocabulary); targets the same shape; logits [B, context, vocabulary]. That is
  // what training takes; with other_lengths sequences of any length up to `positions` are taken as well (generation).
  std::int64_t context = 0;
  std::int64_t positions = 0;
  std::int64_t vocabulary = 0;
  bool other_lengths = true;
  bool documents = false;  // tokens: samples for training hold several documents, which are kept apart
};

/// Model::blocks[block]->parameters()[parameter].
struct ParameterPlace {
  std::size_t block = 0, parameter = 0;
  bool operator==(const ParameterPlace&) const = default;
};

/// A model. Movable; blocks never change after construction.
struct Model {
  std::string name;            // the preset's name, or the JSON file's stem
  nlohmann::json description;  // complete: make_model_from_json(description, name) builds the same model
  InputSpec input;
  std::vector<std::unique_ptr<Block>> blocks;
  /// Dropout that the description asks for, such as "resid_pdrop 0.1". The blocks have none: for evaluation that is the
  /// same model, for training it is not, and the user must be told.
  std::vector<std::string> dropout;
  bool keeps_documents_apart = false;  // blocks heed Pass::documents

  std::int64_t parameter_count() const;                   // each shared parameter once
  std::int64_t parameter_count(std::size_t block) const;  // owned by the block
  std::int64_t trained_count() const;                     // the same of those that are trained
  std::int64_t trained_count(std::size_t block) const;
  /// The block that owns the parameter of that name; throws std::out_of_range where none does.
  ParameterPlace owner_of(std::string_view parameter) const;
  /// Losses are sums over this many terms a sample: 1, or `context` for tokens.
  std::int64_t terms_per_sample() const { return input.kind == InputSpec::Kind::tokens ? input.context : 1; }
};

/// A preset's name (docs/design.md, "Models"), the path of a JSON file, of a file exported from PyTorch (traced.h), of
/// a folder with a config.json (Hugging Face, a run), or of a checkpoint. Throws UsageError: unknown preset (with the
/// list of presets), bad JSON, missing or unknown key, sizes that do not fit each other.
Model make_model(const std::string& preset_or_path);
Model make_model_from_json(const nlohmann::json& description, const std::string& name);
/// The same model that trains on sequences of `context` tokens. Throws UsageError: it reads no tokens, or has fewer
/// positions.
Model with_context(const Model& model, std::int64_t context);
/// What is written beside a model's weights as config.json: of a model of texts as Hugging Face's class reads it, of
/// others the arguments with their "type". make_model() takes it again, without "context". `type`: that of the weights.
nlohmann::json config_of(const Model& model, at::ScalarType type);
/// What a description says of a model's parameters: without the context, and without how frozen weights are held.
nlohmann::json parameters_of_description(nlohmann::json description);
/// Names of the presets.
std::vector<std::string> preset_names();

/// The parameter's first value, float32 on the CPU: a function of `seed`, the parameter's name and its Init only, equal
/// to the bit on every machine. The distributions are those of torchvision and Hugging Face.
at::Tensor initial_value(const Parameter& parameter, std::uint64_t seed);

/// In place of a target that counts in no loss.
inline constexpr std::int64_t kUntrainedTarget = -100;

/// Cross-entropy summed over samples (and positions), as a scalar of at least float32; differentiable.
/// `logits`, `target` as InputSpec says, or kUntrainedTarget; another target out of range is c10::Error.
/// label_smoothing in [0, 1) as torch.nn.functional.cross_entropy defines it.
at::Tensor summed_cross_entropy(const at::Tensor& logits, const at::Tensor& target, double label_smoothing);
/// How many targets there are, without kUntrainedTarget.
std::int64_t count_terms(const at::Tensor& target);
/// How many targets the largest logit hits.
std::int64_t correct_predictions(const at::Tensor& logits, const at::Tensor& target);

/// A batch of the right shape for probes and benchmarks: float32 (or int64 tokens) on the CPU, a function of `seed`.
struct SyntheticBatch {
  at::Tensor input, target;
  at::Tensor positions = {};  // with InputSpec::documents
};
SyntheticBatch synthetic_batch(const InputSpec& input, std::int64_t batch, std::uint64_t seed);

}  // namespace lshdp::model
