// lshdp generate: samples text from a trained GPT.
#include "lshdp/train/generate.h"

#include <ATen/Parallel.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/output.h"
#include "lshdp/measure/host_memory.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/train/saved_model.h"
#include "model_option.h"
#include "tokenizer_option.h"

namespace lshdp::cli {
namespace {

Options generate_options() {
  Options options("generate", "Samples text from a trained GPT.",
                  "lshdp generate --init runs/gpt --prompt \"In the beginning\" --length 200");
  options
      .required("init", "WEIGHTS",
                "the weights: a run, a checkpoint, a Hugging Face folder, a list of shards or a safetensors file")
      .option("model", "MODEL", "a preset, a JSON file or a folder, where the weights do not say it themselves")
      .option("prompt", "TEXT", "what the text begins with")
      .option("prompt-file", "FILE", "or a file of it, taken to its last byte")
      .option("length", "N", "tokens to sample", "256")
      .option("temperature", "T", "below 1: likelier tokens; 0: always the likeliest", "0.8")
      .option("top-k", "K", "sample among the K likeliest tokens (0: all)", "0")
      .option("seed", "S", "seed of the sampling", "0")
      .option("threads", "T", "threads to compute with (default: all cores that this process may use)");
  add_tokenizer_options(options, /*by_weights=*/true);
  return options;
}

std::string prompt_of(const Values& values) {
  if (values.has("prompt") == values.has("prompt-file")) throw UsageError("give either --prompt or --prompt-file");
  return values.has("prompt") ? values.text("prompt") : read_file(values.text("prompt-file"));
}

void set_threads(const Values& values) {
  constexpr std::int64_t most = 4096;
  at::set_num_threads(values.has("threads") ? static_cast<int>(values.integer("threads", 1, most))
                                            : measure::usable_cores());
}

}  // namespace

int run_generate(const Arguments& arguments) {
  const Values values = generate_options().parse(arguments);
  if (values.help()) return 0;
  train::GenerateOptions options{values.integer("length", 1), values.real("temperature", 0), values.integer("top-k", 0),
                                 0, static_cast<std::uint64_t>(values.integer("seed", 0))};
  const std::string prompt = prompt_of(values);
  set_threads(values);
  const train::SavedModel saved = train::find_saved_model(values.text("init"), "--init");
  const model::Model model = model::make_model(model_of_weights(values, saved));
  if (model.input.kind != model::InputSpec::Kind::tokens) throw UsageError("only a GPT generates text");
  const auto tokenizer = tokenizer_of_weights(values, saved, model.input.vocabulary);
  options.tokens = tokenizer->vocabulary();
  const auto encoded = tokenizer->encode(prompt);
  const auto alone = comm::make_null_communicator(0, 1);
  const auto store = parallel::make_store(model, *alone, {});
  store->set_values(model::read_weights(model, *train::open_tensors(saved, model)));
  parallel::BlockWalker walker(model, *store, {});
  print_output(prompt);
  train::generate(walker, model, {encoded.begin(), encoded.end()}, options,
                  [&](std::int64_t token) { print_output(tokenizer->decode(std::span(&token, 1))); });
  print_output("\n");
  return 0;
}

}  // namespace lshdp::cli
