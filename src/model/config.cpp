// config.json beside weights, for those who load them elsewhere.
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "lshdp/core/json.h"
#include "lshdp/model/fine_tuning.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/model.h"
#include "lshdp/model/traced.h"

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

const char* class_of(const std::string& family) {
  if (family == "qwen2") return "Qwen2ForCausalLM";
  return family == "mistral" ? "MistralForCausalLM" : "LlamaForCausalLM";
}

/// The tokens that begin and end texts in the tokenizers of these families, by the sizes of their vocabularies. Hugging
/// Face would take others where they are left out.
std::pair<Json, Json> ends_of_texts(std::int64_t vocabulary) {
  if (vocabulary == 32000) return {1, 2};             // Llama 2, Mistral
  if (vocabulary == 128256) return {128000, 128001};  // Llama 3
  if (vocabulary == 151936) return {151643, 151643};  // Qwen2.5
  return {nullptr, nullptr};
}

/// Rotary positions by their older keys, which transformers 5 reads as well.
Json llama_config(Json config, std::int64_t vocabulary) {
  const auto family = config.at("type").get<std::string>();
  config.erase("type");
  Json rotary = config.at("rope_parameters");
  config.erase("rope_parameters");
  config["rope_theta"] = rotary.at("rope_theta");
  rotary.erase("rope_theta");
  config["rope_scaling"] = rotary.at("rope_type") == "default" ? Json() : rotary;
  if (family == "qwen2") config["use_sliding_window"] = false;
  if (family == "mistral") config["sliding_window"] = nullptr;
  std::tie(config["bos_token_id"], config["eos_token_id"]) = ends_of_texts(vocabulary);
  config.update({{"architectures", {class_of(family)}},
                 {"model_type", family},
                 {"hidden_act", "silu"},
                 {"attention_dropout", 0.0}});
  return config;
}

Json text_config(Json config, std::int64_t vocabulary) {
  config.erase("context");
  return config.at("type") == "gpt2" ? gpt2_config(std::move(config), vocabulary)
                                     : llama_config(std::move(config), vocabulary);
}

}  // namespace

Json config_of(const Model& model, at::ScalarType type) {
  Json config = model.description;
  config.erase(kLoraKey);
  for (const char* of_run : {kFreezeKey, kDropoutKey, kStochasticDepthKey}) config.erase(of_run);
  if (is_traced(model)) return config;
  if (model.input.kind == InputSpec::Kind::tokens) {
    config = text_config(std::move(config), model.input.vocabulary);
    config["torch_dtype"] = name_of(type);
  } else if (config.value("channels", std::int64_t{0}) == 3) {
    config.erase("channels");  // no argument of torchvision's, which has no other
  }
  return config;
}

}  // namespace lshdp::model
