// lshdp train: trains a model on unequal ranks, measuring and solving first if asked to.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <variant>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/shared_folder.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/interrupt.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/core/version.h"
#include "lshdp/model/fine_tuning.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/trained_part.h"
#include "lshdp/train/auto_resume.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/launch.h"
#include "lshdp/train/run_adapter.h"
#include "lshdp/train/run_claim.h"
#include "lshdp/train/saved_adapter.h"
#include "lshdp/train/saved_model.h"
#include "model_option.h"
#include "plan_options.h"
#include "rank_options.h"

namespace lshdp::cli {
namespace {

void add_training_options(Options& options) {
  options.required("data", "FILE", "the data set to train on (HDF5, made by lshdp data)")
      .option("eval-data", "FILE", "a data set to evaluate on")
      .option("eval-every", "K", "evaluate every K steps (0: at the end)", "0")
      .option("steps", "S", "train this many steps in all")
      .option("epochs", "E", "or pass this often over the data")
      .option("lr", "RATE", "peak learning rate", "1e-3")
      .option("schedule", "KIND", "constant or cosine (to 0 at the last step)", "constant")
      .option("warmup", "S", "steps of linear warm-up", "0")
      .option("weight-decay", "W", "decoupled weight decay", "0.01")
      .option("decay", "WHICH", "what decays: matrices (not biases and norms) or all", "matrices")
      .option("beta1", "B", "AdamW's beta1", "0.9")
      .option("beta2", "B", "AdamW's beta2", "0.999")
      .option("epsilon", "E", "AdamW's epsilon", "1e-8")
      .option(
          "layer-decay", "F",
          "fine-tuning: rates fall by this factor from layer to layer, from the head at --lr down to the embeddings",
          "1")
      .option("ema", "DECAY",
              "keep a moving average of the weights as well (0.999: of the last thousand steps or so): evaluated, in "
              "checkpoints, and at the end in DIR/ema (0: none)",
              "0")
      .option("clip", "NORM", "clip gradients to this global norm (0: off)", "0")
      .option("dropout", "P", "of a ViT: dropout, as torchvision has it", "0")
      .option("stochastic-depth", "P", "of a ViT: drop branches of the last layer so often, less of those before", "0")
      .option("label-smoothing", "S", "label smoothing of the cross-entropy", "0")
      .option("seed", "S", "seed of fresh weights, the order of samples and augmentation", "0")
      .option("crop-padding", "P", "augmentation: random crop after padding by P pixels (0: off)", "0")
      .flag("flip", "augmentation: random horizontal flip")
      .option("windows", "KIND",
              "windows of tokens to train on: fixed (each once an epoch), or random (each sample begins anywhere)",
              "fixed");
}

void add_file_options(Options& options) {
  options
      .option(
          "init", "WEIGHTS",
          "weights to begin with: a safetensors file, a list of shards, a Hugging Face folder, a run or a checkpoint")
      .flag("new-head",
            "with --init: a fresh head of the model's number of classes, drawn from --seed, whatever head the weights "
            "have")
      .option("save", "FILE", "write the trained weights to this file as well (safetensors)")
      .option("results", "DIR",
              "run directory: weights (model.safetensors, config.json; of --lora adapter_model.safetensors), metrics, "
              "summary, plan, checkpoints (default with "
              "--resume: the run that is resumed)")
      .flag("overwrite", "replace an earlier run in --results")
      .flag("keep-best", "keep the weights of the evaluation with the least loss, too (in DIR/best)")
      .option("checkpoint-every", "K",
              "checkpoint every K steps, or by time: 90s, 10min, 2h (0: only when interrupted)", "0")
      .option("keep-checkpoints", "N", "keep the newest N checkpoints", "2")
      .option("resume", "DIR",
              "continue from a checkpoint, or from the newest of a run directory; auto: from the newest of --results, "
              "or begin where it has none")
      .flag("resume-with-changes", "continue although data or settings differ from those of the checkpoint")
      .flag("tensorboard", "write event files into DIR/tensorboard while it trains, for TensorBoard")
      .flag("trace", "write trace.json: what every rank did when (opens in Perfetto)")
      .flag("verbose-forward",
            "print what each block reads and gives in the first micro-batch: shapes, types, devices, and what goes to "
            "another rank");
}

}  // namespace

Options train_options() {
  Options options(
      "train", "Trains a model on unequal ranks with the mathematics of one machine.",
      "mpirun -np 4 lshdp train --model vit.json --data train.h5 --total 128 --epochs 2 --results runs/vit");
  add_model_options(options);
  add_adapter_option(options);
  add_training_options(options);
  add_plan_options(options);
  add_rank_options(options);
  add_communicator_option(options);
  add_file_options(options);
  options.excludes("steps", "epochs").one_of({"steps", "epochs"});
  options.excludes("overwrite", "resume")
      .needs("overwrite", {"results"})
      .needs("resume-with-changes", {"resume"})
      .needs("new-head", {"init"});
  options.needs("eval-every", {"eval-data"}).needs("keep-best", {"eval-data"});
  for (const char* kept : {"trace", "tensorboard", "keep-best", "keep-checkpoints"})
    options.needs(kept, {"results", "resume"});
  return options;
}

namespace {

std::filesystem::path path_or_none(const Values& values, const char* name) {
  return values.has(name) ? std::filesystem::path(values.text(name)) : std::filesystem::path();
}

/// More are a mistake, and could be too many to count.
constexpr std::int64_t kMaxSteps = 1'000'000'000;

void read_length(const Values& values, train::TrainOptions& options) {
  if (values.has("steps")) options.steps = values.integer("steps", 1, kMaxSteps);
  if (values.has("epochs")) options.epochs = values.integer("epochs", 1, kMaxSteps);
}

void read_optimizer(const Values& values, train::TrainOptions& options) {
  options.schedule = {.kind = train::schedule_from_text(values.choice("schedule", {"constant", "cosine"})),
                      .learning_rate = values.real("lr", 0),
                      .warmup_steps = values.integer("warmup", 0)};
  options.adamw = {.beta1 = values.real("beta1", 0, 0.999999),
                   .beta2 = values.real("beta2", 0, 0.999999999),
                   .epsilon = values.real("epsilon", 0),
                   .weight_decay = values.real("weight-decay", 0),
                   .decay_all = values.choice("decay", {"matrices", "all"}) == "all"};
  options.layer_decay = values.real("layer-decay", 1e-6, 1);
  options.ema = values.real("ema", 0, 0.999999999);
  options.clip_norm = values.real("clip", 0);
  options.label_smoothing = values.real("label-smoothing", 0, 0.999999);
}

/// Steps, or a time with its unit.
void read_checkpoint_interval(const Values& values, train::TrainOptions& options) {
  const std::variant<std::int64_t, double> interval = values.count_or_seconds("checkpoint-every");
  if (const double* seconds = std::get_if<double>(&interval)) {
    options.checkpoint_seconds = *seconds;
  } else {
    options.checkpoint_every = std::get<std::int64_t>(interval);
  }
}

bool resumes_by_itself(const Values& values) {
  return values.has("resume") && values.text("resume") == train::kResumeAuto;
}

void read_folders(const Values& values, train::TrainOptions& options) {
  options.results = path_or_none(values, "results");
  if (!resumes_by_itself(values)) options.resume = path_or_none(values, "resume");
  if (resumes_by_itself(values) && options.results.empty())
    throw UsageError("--resume auto needs --results, the run directory to look into (a folder named auto is ./auto)");
  options.overwrite = values.flag("overwrite");
  options.resume_with_changes = values.flag("resume-with-changes");
  read_checkpoint_interval(values, options);
  options.keep_checkpoints = static_cast<int>(values.integer("keep-checkpoints", 1, 1'000'000));
  options.trace = values.flag("trace");
  options.tensorboard = values.flag("tensorboard");
  options.verbose_forward = values.flag("verbose-forward");
  options.keep_best = values.flag("keep-best");
  const bool keeps = !options.results.empty() || !options.resume.empty();
  const bool checkpoints = options.checkpoint_every > 0 || options.checkpoint_seconds > 0;
  if (!keeps && checkpoints) throw UsageError("--checkpoint-every needs --results, the folder to write into");
}

/// What an adapter's run may be given, and others not, and the reverse; `recorded`: a run of adapters goes on. With
/// --resume auto, --init and --adapter are for the beginning.
void require_compatible(const Values& values, bool recorded) {
  const bool adapter = values.has("lora") || values.has("adapter") || recorded;
  const bool resumes = values.has("resume") && !resumes_by_itself(values);
  if (values.has("adapter") && resumes)
    throw UsageError("--adapter and --resume exclude each other: a checkpoint holds the adapter");
  if (!adapter && values.has("init") && resumes && !values.has("freeze"))
    throw UsageError("--init and --resume exclude each other, but for a run of adapters or with --freeze");
  if (adapter && values.flag("new-head"))
    throw UsageError("--new-head: adapters alone are trained, a fresh head would stay as it is drawn");
  if (adapter && values.has("save"))
    throw UsageError("--save writes one file, but an adapter has two; take it from --results");
}

train::TrainOptions read_options(const Values& values) {
  train::TrainOptions options;
  options.data = values.text("data");
  options.eval_data = path_or_none(values, "eval-data");
  options.eval_every = values.integer("eval-every", 0);
  read_length(values, options);
  read_optimizer(values, options);
  options.seed = static_cast<std::uint64_t>(values.integer("seed", 0));
  options.augmentation = {values.integer("crop-padding", 0), values.flag("flip"), options.seed};
  options.windows =
      values.choice("windows", {"fixed", "random"}) == "random" ? data::Windows::anywhere : data::Windows::fixed;
  options.init = path_or_none(values, "init");
  options.new_head = values.flag("new-head");
  options.adapter = path_or_none(values, "adapter");
  options.save = path_or_none(values, "save");
  read_folders(values, options);
  return options;
}

/// What the run that goes on, if one does, recorded of its adapters, by rank 0's word.
std::optional<train::RunAdapter> shared_run_adapter(comm::Communicator& world, const Values& values,
                                                    const train::TrainOptions& options) {
  const std::string text = comm::on_rank_0(world, [&]() -> std::string {
    const std::filesystem::path& run = resumes_by_itself(values) ? options.results : options.resume;
    const auto found = run.empty() ? std::nullopt : train::adapter_of_run(run);
    require_compatible(values, found.has_value());
    return found ? json_text({{"lora", model::to_json(found->settings)}, {"init", found->init.string()}}) : "";
  });
  if (text.empty()) return std::nullopt;
  const Json said = parse_json(text, "--resume");
  return train::RunAdapter{model::lora_from_json(said["lora"], "--resume"), said["init"].get<std::string>()};
}

/// What is left out is as it was. The next resume finds all of it in the record of this launch.
void complete_by_record(const train::RunAdapter& recorded, train::TrainOptions& options) {
  if (options.init.empty()) options.init = recorded.init;
  Json& given = options.invocation.options;
  if (!options.init.empty()) given["init"] = options.init.string();
  given["lora"] = model::to_text(recorded.settings);
  given["base-precision"] = model::to_text(recorded.settings.base);
}

std::string result_text(const Json& summary) {
  Table table({"rank", "host", "speed", "max batch", "batch", "compute", "communication", "wait"});
  for (const Json& rank : summary["ranks"]) {
    const std::int64_t max_batch = rank["max_batch"];
    table.add({std::to_string(rank["rank"].get<int>()), rank["host"],
               fmt::format("{:.3g}", rank["speed"].get<double>()), max_batch > 0 ? std::to_string(max_batch) : "-",
               std::to_string(rank["batch"].get<std::int64_t>()), format_seconds(rank["compute_seconds"]),
               format_seconds(rank["communication_seconds"]), format_seconds(rank["wait_seconds"])});
  }
  std::string text = table.to_string() + fmt::format("step {} (median), {:.4g} samples/s",
                                                     format_seconds(summary["step_seconds"]["median"]),
                                                     summary["samples_per_second"].get<double>());
  if (!summary["tokens_per_second"].is_null())
    text += fmt::format(", {} tokens/s", format_count(std::llround(summary["tokens_per_second"].get<double>())));
  if (!summary["prediction_error"].is_null()) {
    text += fmt::format("; predicted {} ({:+.1f} %)", format_seconds(summary["predicted"]["step_seconds"]),
                        100 * summary["prediction_error"].get<double>());
  }
  text += '\n';
  if (const std::int64_t skipped = summary["skipped_steps"]; skipped > 0)
    text += fmt::format("{} steps skipped because gradients overflowed in fp16\n", skipped);
  const Json& evaluation = summary["evaluation"];
  if (!evaluation.is_null() && !evaluation["loss"].is_null()) {
    text += fmt::format("evaluation loss {:.4f}", evaluation["loss"].get<double>());
    if (!evaluation["accuracy"].is_null())
      text += fmt::format(", accuracy {:.2f} %", 100 * evaluation["accuracy"].get<double>());
    text += '\n';
  }
  return text;
}

/// What is trained is of no use without the weights that the rest is in, nor in their folder, which it would be taken
/// for.
void require_other_folder(const Values& values, const std::filesystem::path& results) {
  for (const char* input : {"init", "adapter"}) {
    if (!values.has(input) || results.empty()) continue;
    // Also its checkpoints.
    const std::filesystem::path inside = std::filesystem::weakly_canonical(values.text(input))
                                             .lexically_relative(std::filesystem::weakly_canonical(results));
    if (!inside.empty() && *inside.begin() != "..")
      throw UsageError(
          fmt::format("--results: {} holds what --{} names; give this run another folder", results.string(), input));
  }
}

/// Outputs are looked at before any work is done for them. Returns the folder that is to hold them.
[[nodiscard]] NewFolders check_outputs(comm::Communicator& communicator, const Values& values) {
  NewFolders folders;
  comm::on_rank_0(communicator, [&]() -> std::string {
    if (!values.has("save")) return "";
    std::vector<std::filesystem::path> inputs;
    for (const char* input : {"data", "eval-data", "model", "init", "batches", "profile"})
      inputs.push_back(path_or_none(values, input));
    // Also where --init names the folder.
    if (values.has("init")) inputs.push_back(train::find_saved_model(values.text("init"), "--init").weights);
    refuse_overwriting("--save", values.text("save"), inputs);
    train::refuse_inside_run(values.text("save"), "--save");
    folders = require_writable_file(values.text("save"), "--save");
    return "";
  });
  return folders;
}

std::vector<std::string> command_line(const std::string& command, const Arguments& arguments) {
  std::vector<std::string> line{"lshdp", command};
  line.insert(line.end(), arguments.begin() + 1, arguments.end());
  return line;
}

void warn_of_dropout(const comm::Communicator& communicator, const model::Model& model) {
  if (communicator.rank() != 0 || model.dropout.empty()) return;
  spdlog::warn("--model: its description asks for dropout ({}), which lshdp does not have: this run trains without it",
               fmt::join(model.dropout, ", "));
}

/// The model as this run trains it.
model::Model tuned(model::Model model, const Values& values, const train::TrainOptions& options) {
  if (options.new_head) model::require_new_head(model);
  const double dropout = values.real("dropout", 0, 0.99), depth = values.real("stochastic-depth", 0, 0.99);
  if (dropout > 0 || depth > 0) model = model::with_dropout(model, dropout, depth);
  return options.layer_decay == 1 ? std::move(model) : model::with_layer_decay(std::move(model), options.layer_decay);
}

void warn_of_base(const train::TrainOptions& options) {
  if (options.init.empty())
    spdlog::warn("--init is missing: the adapters are trained beside weights that are drawn from --seed");
  if (options.adapter.empty()) return;
  const std::string doubt = train::doubt_of_base(train::find_saved_adapter(options.adapter, "--adapter"), options.init);
  if (!doubt.empty()) spdlog::warn("--adapter: {}", doubt);
}

/// Samples a step, where the command line says them.
std::optional<std::int64_t> given_total(const train::PlanRequest& request) {
  if (request.total || !train::is_batch_list(request.batches)) return request.total;
  const std::vector<std::int64_t> batches = parse_int_list(request.batches, "--batches");
  return std::accumulate(batches.begin(), batches.end(), std::int64_t{0});
}

train::AutoResume find_auto_resume(comm::Communicator& world, const model::Model& model,
                                   const train::LaunchRequest& request, train::TrainOptions options) {
  options.setup.strategy = request.ranks.strategy;
  const train::AutoResume found = train::find_auto_resume(world, model, options, given_total(request.plan));
  if (found.kind == train::AutoResume::Kind::finished)
    print_on_rank_0(world,
                    fmt::format("{} holds the finished run of {} steps\n", options.results.string(), found.steps));
  return found;
}

}  // namespace

int run_train(const Arguments& arguments) {
  watch_interrupts();
  const Values values = train_options().parse(arguments);
  if (values.help()) return 0;
  const train::LaunchRequest request{
      .ranks = rank_request(values), .communicator = communicator_request(values), .plan = plan_request(values)};
  train::TrainOptions options = read_options(values);
  if (options.ema > 0 && request.ranks.strategy.wire == Wire::bf16)
    throw UsageError("--ema: to evaluate the average would change what --wire bf16 rounds; take --wire exact");
  options.invocation = {
      .command = command_line("train", arguments), .options = values.to_json(), .program = program_version()};
  return with_ranks("train", values, [&](comm::Communicator& world) {
    if (options.results.empty() && !options.resume.empty()) {
      options.results = train::results_of_resume(world, options.resume);
      options.results_option = "--resume";
    }
    const std::optional<train::RunAdapter> recorded = shared_run_adapter(world, values, options);
    if (recorded) complete_by_record(*recorded, options);
    model::Model model = shared_model_of_run(world, values, recorded ? &recorded->settings : nullptr);
    comm::agree(world, [&] { model.input.documents = train::hold_documents({options.data, options.eval_data}); });
    comm::agree(world, [&] { model = tuned(std::move(model), values, options); });
    if (model::is_partly_frozen(model)) comm::agree(world, [&] { require_other_folder(values, options.results); });
    const train::RunClaim claim = train::claim_run(world, {.results = options.results,
                                                           .resume = options.resume,
                                                           .overwrite = options.overwrite,
                                                           .resume_auto = resumes_by_itself(values),
                                                           .option = options.results_option});
    if (resumes_by_itself(values)) {
      const train::AutoResume found = find_auto_resume(world, model, request, options);
      if (found.kind == train::AutoResume::Kind::finished) return;
      options.resume = found.resume;
    }
    if (!options.results.empty()) comm::require_shared_folder(world, options.results, options.results_option);
    const NewFolders folders = check_outputs(world, values);
    warn_of_dropout(world, model);
    const bool needs_first = options.init.empty() && model::is_partly_frozen(model);
    if (options.resume.empty() || needs_first) options.init = first_weights(world, model, values);
    if (world.rank() == 0 && model::lora_of(model)) warn_of_base(options);
    const Json summary = train::launch(world, model, request, options);
    print_on_rank_0(world, world.rank() == 0 ? result_text(summary) : "");
  });
}

}  // namespace lshdp::cli
