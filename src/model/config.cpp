// config.json beside weights, for those who load them elsewhere.
#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/core/json.h"
#include "lshdp/model/model.h"

namespace lshdp::model {
namespace {

constexpr std::int64_t kGpt2Vocabulary = 50257;  // of OpenAI's tokenizer, whose last token ends texts

const char* name_of(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return "float64";
    case at::kFloat:
      return "float32";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      throw std::invalid_argument(fmt::format("no weights are of type {}", c10::toString(type)));
  }
}

Json gpt2_config(Json config, std::int64_t vocabulary) {
  config.erase("type");
  config.update({{"architectures", {"GPT2LMHeadModel"}},
                 {"model_type", "gpt2"},
                 {"activation_function", "gelu_new"},
                 {"attn_pdrop", 0.0},
                 {"embd_pdrop", 0.0},
                 {"resid_pdrop", 0.0},
                 {"tie_word_embeddings", true}});
  const Json end = vocabulary == kGpt2Vocabulary ? Json(kGpt2Vocabulary - 1) : Json();
  config["bos_token_id"] = end;
  config["eos_token_id"] = end;
  return config;
}

}  // namespace

Json config_of(const Model& model, at::ScalarType type) {
  Json config = model.description;
  if (config.at("type") == "gpt2") {
    config = gpt2_config(std::move(config), model.input.vocabulary);
    config["torch_dtype"] = name_of(type);
  } else if (config.value("channels", std::int64_t{0}) == 3) {
    config.erase("channels");  // no argument of torchvision's, which has no other
  }
  return config;
}

}  // namespace lshdp::model
