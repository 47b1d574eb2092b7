// Keys that the descriptions of all models of texts may hold.
#include "text_model.h"

#include <array>

namespace lshdp::model {
namespace {

constexpr const char* kContext = "context";

/// Keys of config.json that are about names, labels, other heads, generation or files, not about the network.
constexpr std::array kOtherKeys{
    "architectures", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id",
    "mask_token_id", "decoder_start_token_id", "use_cache", "dtype", "torch_dtype", "transformers_version",
    "task_specific_params", "_name_or_path", "gradient_checkpointing",
    // labels
    "id2label", "label2id", "_num_labels", "num_labels", "problem_type", "finetuning_task",
    // what calls return
    "output_attentions", "output_hidden_states", "output_past", "output_scores", "return_dict", "use_return_dict",
    "return_dict_in_generate", "torchscript", "chunk_size_feed_forward", "is_decoder", "attn_implementation",
    "_attn_implementation", "_attn_implementation_autoset", "use_bfloat16", "tf_legacy_loss", "loss_type",
    // generation
    "do_sample", "max_length", "min_length", "max_new_tokens", "num_beams", "num_beam_groups", "temperature", "top_k",
    "top_p", "typical_p", "repetition_penalty", "length_penalty", "diversity_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "early_stopping", "forced_bos_token_id",
    "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens", "prefix",
    // the tokenizer
    "tokenizer_class", "model_max_length", "n_special", "predict_special_tokens"};

}  // namespace

InputSpec read_text_input(Description& description, std::int64_t positions, std::int64_t vocabulary) {
  InputSpec input;
  input.kind = InputSpec::Kind::tokens;
  input.context = description.size_or(kContext, positions, positions);
  input.positions = positions;
  input.vocabulary = vocabulary;
  return input;
}

void describe_context(Json& description, const InputSpec& input) {
  if (input.context != input.positions) description[kContext] = input.context;
}

void ignore_other_keys(Description& description) {
  for (const char* key : kOtherKeys) description.ignore(key);
}

}  // namespace lshdp::model
