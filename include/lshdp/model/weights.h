// Weights of a whole model in and out of safetensors, under the names of torchvision and Hugging Face.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lshdp/model/model.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/tensor_source.h"

namespace lshdp::model {

/// Names of files in a folder of weights, as Hugging Face has them.
inline constexpr const char *kWeightsFile = "model.safetensors", *kShardsFile = "model.safetensors.index.json",
                            *kConfigFile = "config.json";

/// One tensor (float32 unless the file holds float64) per parameter: values[b][i] belongs to
/// model.blocks[b]->parameters()[i].
using Values = std::vector<std::vector<at::Tensor>>;

/// The values of one block; called once for each block in rising order, so that not all need be there at once.
using BlockValues = std::function<std::vector<at::Tensor>(std::size_t block)>;

/// In what a model may differ from the one that a source holds weights of.
struct WeightChanges {
  /// The classification head (see classification_head()) is fresh; the source may have another one, or none.
  bool new_head = false;
  /// Position embeddings of a ViT for images of another size are interpolated, as torchvision's
  /// interpolate_embeddings() does it.
  bool image_size = false;
  std::uint64_t seed = 0;  // of what is fresh
};

/// The parameters of a model in a source, by whatever names they have there. Names may lack Hugging Face's
/// "transformer." or "model.", or stand behind what wrappers add to all of them ("module.", "_orig_mod.", ..); the log
/// says so. A tied head may lack, equal the embedding within the narrower type of the two, or be there alone. Masks and
/// rotary frequencies are passed over, whatever their type.
class WeightReader {
 public:
  /// Throws UsageError naming the tensor if one is missing, or is in the source but not in the model; --new-head where
  /// the model has no head that is known. Both must outlive it.
  WeightReader(const Model& model, TensorSource& source, const WeightChanges& changes = {});

  /// model.blocks[block]->parameters()[parameter], in float32 or float64. Throws UsageError naming the tensor: another
  /// shape, no floating type, values that are not finite, a head that is not tied.
  at::Tensor read(std::size_t block, std::size_t parameter);

 private:
  at::Tensor checked(const std::string& name, const Parameter& parameter);
  at::Tensor tied(const at::Tensor& embedding, const Parameter& parameter);
  [[noreturn]] void refuse_shape(const std::string& name, const at::Tensor& tensor, const Parameter& parameter) const;
  at::Tensor fresh(std::size_t block, std::size_t parameter);
  bool is_fresh(const Parameter& parameter) const;
  bool fits_interpolated(const at::Tensor& tensor, const Parameter& parameter) const;
  at::Tensor interpolated(const at::Tensor& positions);

  const Model& model_;
  TensorSource& source_;
  WeightChanges changes_;
  std::vector<std::string> classification_head_;  // of the model; empty: not known
  bool told_of_head_ = false, told_of_positions_ = false;
  std::vector<std::vector<std::string>> names_;  // in the source
  std::string head_;  // of the tied head in the source; empty: it has none beside the embedding
};

/// Reads every parameter of `model`. Throws UsageError as WeightReader does.
Values read_weights(const Model& model, TensorSource& source);
/// The same of a safetensors file.
Values read_weights(const Model& model, const std::filesystem::path& path);
/// Writes every parameter once, each in the type of its value. Throws WriteError; std::invalid_argument if `values` is
/// not of `model`.
void write_weights(const Model& model, const Values& values, const std::filesystem::path& path);
/// What a file of all parameters of `model` in `type` holds, in their order.
std::vector<TensorShape> tensor_shapes(const Model& model, at::ScalarType type);
/// Fresh values from `seed`.
Values initial_values(const Model& model, std::uint64_t seed);
/// The same block by block. `model` must outlive it.
BlockValues initial_block_values(const Model& model, std::uint64_t seed);

/// Throws UsageError if `value`, of the tensor `name`, holds NaN or infinities. `where`: what holds it.
void require_finite(const at::Tensor& value, const std::string& name, const std::string& where);

}  // namespace lshdp::model
