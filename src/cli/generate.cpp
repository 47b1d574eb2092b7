// lshdp generate: samples text from a trained GPT.
#include "lshdp/train/generate.h"

#include "lshdp/cli/command.h"
#include "lshdp/cli/model_option.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/core/output.h"
#include "lshdp/data/tokenizer.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/replicated_store.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::cli {
namespace {

Options generate_options() {
  Options options("generate", "Samples text from a trained GPT.",
                  "lshdp generate --init runs/gpt --prompt \"In the beginning\" --length 200");
  options
      .required("init", "WEIGHTS",
                "the weights: a run, a checkpoint, a Hugging Face folder, a list of shards or a safetensors file")
      .option("model", "MODEL", "a preset, a JSON file or a folder, where the weights do not say it themselves")
      .required("prompt", "TEXT", "what the text begins with")
      .option("length", "N", "tokens to sample", "256")
      .option("temperature", "T", "below 1: likelier tokens; 0: always the likeliest", "0.8")
      .option("top-k", "K", "sample among the K likeliest tokens (0: all)", "0")
      .option("seed", "S", "seed of the sampling", "0")
      .option("tokenizer", "NAME", "byte or gpt2: what the model was trained on", "byte")
      .option("encoder", "FILE", "gpt2: its encoder.json")
      .option("vocab-bpe", "FILE", "gpt2: its vocab.bpe");
  return options;
}

std::unique_ptr<data::Tokenizer> tokenizer_of(const Values& values) {
  if (values.choice("tokenizer", {"byte", "gpt2"}) == "byte") return data::make_byte_tokenizer();
  if (!values.has("encoder") || !values.has("vocab-bpe"))
    throw UsageError("--tokenizer gpt2 needs --encoder and --vocab-bpe");
  return data::make_gpt2_tokenizer(values.text("encoder"), values.text("vocab-bpe"));
}

}  // namespace

int run_generate(const Arguments& arguments) {
  const Values values = generate_options().parse(arguments);
  if (values.help()) return 0;
  const train::GenerateOptions options{values.integer("length", 1), values.real("temperature", 0),
                                       values.integer("top-k", 0),
                                       static_cast<std::uint64_t>(values.integer("seed", 0))};
  const train::SavedModel saved = train::find_saved_model(values.text("init"), "--init");
  const model::Model model = model::make_model(model_of_weights(values, saved));
  const auto tokenizer = tokenizer_of(values);
  const auto encoded = tokenizer->encode(values.text("prompt"));
  const auto alone = comm::make_null_communicator(0, 1);
  const auto store = parallel::make_replicated_store(model, *alone, {});
  store->set_values(model::read_weights(model, *train::open_tensors(saved, model)));
  parallel::BlockWalker walker(model, *store, {});
  print_output(values.text("prompt"));
  train::generate(walker, model, {encoded.begin(), encoded.end()}, options,
                  [&](std::int64_t token) { print_output(tokenizer->decode(std::span(&token, 1))); });
  print_output("\n");
  return 0;
}

}  // namespace lshdp::cli
