// The training loop.
#include "lshdp/train/trainer.h"

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/interrupt.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/memory.h"
#include "lshdp/core/text.h"
#include "lshdp/core/trace.h"
#include "lshdp/core/wall_time.h"
#include "lshdp/data/identity.h"
#include "lshdp/data/matching.h"
#include "lshdp/data/sampler.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/shared_values.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/train/checkpoint.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/evaluate.h"
#include "lshdp/train/metrics.h"
#include "lshdp/train/rebalancing.h"
#include "lshdp/train/run_claim.h"
#include "lshdp/train/run_file.h"
#include "lshdp/train/run_trace.h"
#include "lshdp/train/run_weights.h"
#include "lshdp/train/saved_model.h"
#include "lshdp/train/step_log.h"
#include "lshdp/train/step_statistics.h"
#include "settings.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

std::vector<std::int64_t> batches_of(const plan::Plan& plan) {
  std::vector<std::int64_t> batches;
  for (const plan::RankPlan& rank : plan.ranks) batches.push_back(rank.batch);
  return batches;
}

/// Steps of `epochs` passes over the data.
std::int64_t steps_of(std::int64_t epochs, std::int64_t steps_per_epoch) {
  std::int64_t steps = 0;
  if (!__builtin_mul_overflow(epochs, steps_per_epoch, &steps)) return steps;
  throw UsageError(fmt::format("--epochs: {} of {} steps each are more steps than can be counted", epochs,
                               format_count(steps_per_epoch)));
}

/// The identity of a data set and where it lies, by rank 0's word; null without a path.
Json identity_by_rank_0(comm::Communicator& communicator, const fs::path& path) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    if (path.empty()) return std::string("null");
    Json identity = data::to_json(data::identity_of(path));
    identity["path"] = fs::absolute(path).string();
    return json_text(identity);
  });
  return text.empty() ? Json() : Json::parse(text);
}

void require_steps_left(const fs::path& checkpoint, const CheckpointInfo& written, std::int64_t last_step) {
  if (written.step < last_step) return;
  throw UsageError(
      fmt::format("--resume: {} has done {} steps already; ask for more --steps or --epochs, or take its weights "
                  "with 'lshdp export'",
                  checkpoint.string(), written.step));
}

/// What would change the mathematics unnoticed is refused.
void require_same_run(const fs::path& checkpoint, const CheckpointInfo& written, const CheckpointInfo& now,
                      bool with_changes) {
  if (written.model != now.model)
    throw UsageError(fmt::format("--resume: {} was written with another model", checkpoint.string()));
  const std::vector<std::string> changes = changes_since(written, now);
  if (changes.empty() || with_changes) return;
  throw UsageError(
      fmt::format("--resume: {} was written with {}; give what it was written with, or add --resume-with-changes",
                  checkpoint.string(), fmt::join(changes, ", ")));
}

class Trainer {
 public:
  Trainer(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options);
  Json run();

 private:
  void open_data();
  void open_eval_data();
  void make_sampler();
  void prepare_folders();
  void make_store();
  void load_state();
  void fresh_state();
  void resume_state();
  CheckpointInfo checkpoint_info(std::int64_t step) const;
  void leave_abandoned(const fs::path& checkpoint);
  void warn_of_warm_up() const;
  RunRecord describe() const;
  Json describe_launch();
  void begin_run();
  std::string write_summary(bool finished);
  std::optional<data::Request> request(std::int64_t k) const;
  std::vector<std::int64_t> micro_batches_of(std::int64_t step, int rank) const;
  parallel::Update update_of(std::int64_t step) const;
  void run_step(std::int64_t step);
  double run_micro_batches(const data::Batch& batch, const std::vector<std::int64_t>& micro_batches);
  double train_guarded(const data::Batch& batch, std::int64_t begin, std::int64_t samples, bool last);
  LocalStep totals() const;
  void begin_timing();
  void collect(std::int64_t step, double loss, std::int64_t samples);
  double compute_seconds() const;
  void rebalance(std::int64_t done);
  void share_micro_batches();
  void report(const std::vector<GatheredStep>& steps);
  bool was_skipped(const GatheredStep& gathered) const;
  void require_finite(const GatheredStep& gathered);
  void report_step(const GatheredStep& gathered);
  void report_pending();
  void run_evaluation(std::int64_t step);
  bool is_checkpoint_due(std::int64_t step) const;
  bool ask_for_checkpoint();
  void checkpoint(std::int64_t step);
  void stop_if_interrupted(std::int64_t step);
  void finish();

  comm::Communicator& communicator_;
  const model::Model& model_;
  TrainOptions options_;
  bool speaks_;
  Trace trace_;
  SpeedEmulator emulator_;
  NewFolders save_folder_, results_folder_;  // rank 0
  std::unique_ptr<data::Dataset> data_, eval_data_;
  std::unique_ptr<data::HeterogeneousDistributedSampler> sampler_;
  std::unique_ptr<parallel::ParameterStore> store_;
  std::unique_ptr<parallel::BlockWalker> walker_;
  std::unique_ptr<data::PrefetchingLoader> loader_;
  std::unique_ptr<MetricsWriter> metrics_;  // rank 0
  std::unique_ptr<StepLog> log_;            // rank 0
  std::unique_ptr<StepStatistics> statistics_;
  std::unique_ptr<Rebalancing> rebalancing_;
  std::unique_ptr<RunWeights> weights_;
  std::vector<double> speeds_;        // by rank
  std::vector<std::string> devices_;  // by rank
  std::int64_t first_step_ = 0;       // counted from 0; a resumed run begins later
  std::int64_t last_step_ = 0;        // one past the last
  std::int64_t steps_done_ = 0;       // on this rank; the last one's update may be under way
  double data_wait_seconds_ = 0;
  double pretended_compute_seconds_ = 0;
  bool interrupted_anywhere_ = false;
  bool checkpoint_due_ = false;  // on all ranks alike
  std::int64_t checkpointed_step_ = -1;
  double last_checkpoint_ = 0;  // rank 0: when the last one was written, or asked for
  Json data_identity_, eval_identity_;
  fs::path resumed_from_;             // a checkpoint
  std::vector<std::string> changes_;  // against the run that is resumed
  std::optional<EvaluationRecord> last_evaluation_;
  double begun_ = 0;
};

Trainer::Trainer(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options)
    : communicator_(communicator),
      model_(model),
      options_(options),
      speaks_(communicator.rank() == 0),
      emulator_(options.setup.speed) {
  if (options.trace) trace_.enable();
  open_data();
  prepare_folders();
  load_state();
}

void Trainer::open_data() {
  comm::agree(communicator_, [&] {
    data_ = open_for_model(options_.data, model_, options_.windows);
    require_augmentation({options_.data, data_->info()}, options_.augmentation);
    say_how_images_fit(options_.data, data_->info(), model_);
    if (!options_.eval_data.empty()) open_eval_data();
    make_sampler();
    last_step_ = options_.steps ? *options_.steps : steps_of(*options_.epochs, sampler_->steps_per_epoch());
    options_.schedule.total_steps = last_step_;
  });
  data_identity_ = identity_by_rank_0(communicator_, options_.data);
  eval_identity_ = identity_by_rank_0(communicator_, options_.eval_data);
  warn_of_warm_up();
}

void Trainer::warn_of_warm_up() const {
  const std::int64_t steps = options_.schedule.warmup_steps;
  if (speaks_ && steps >= last_step_ && steps > 0)
    spdlog::warn("--warmup: the rate rises for {} steps, but the run ends after {}: it never reaches --lr", steps,
                 last_step_);
}

/// Classes and statistics are those of the training set.
void Trainer::open_eval_data() {
  eval_data_ = data::matched(open_for_model(options_.eval_data, model_), options_.eval_data.string(),
                             data::trained_on(data_->info(), options_.data.string()));
  require_same_tokenizer({options_.data, data_->info()}, {options_.eval_data, eval_data_->info()});
  say_how_images_fit(options_.eval_data, eval_data_->info(), model_);
}

/// With windows anywhere, an epoch is as many samples as there are fixed windows.
void Trainer::make_sampler() {
  const bool anywhere = options_.windows == data::Windows::anywhere;
  if (anywhere && data_->info().kind == data::DatasetInfo::Kind::images)
    throw UsageError(fmt::format("--windows random is for tokens, but {} holds images", options_.data.string()));
  const std::int64_t samples = anywhere ? (data_->info().count - 1) / model_.input.context : data_->size();
  sampler_ = std::make_unique<data::HeterogeneousDistributedSampler>(samples, batches_of(options_.plan), options_.seed);
  if (anywhere) sampler_->draw_from(data_->size());
}

void Trainer::prepare_folders() {
  comm::on_rank_0(communicator_, [&] {
    if (!options_.save.empty()) save_folder_ = require_writable_file(options_.save, "--save");
    if (!options_.results.empty()) results_folder_ = require_writable_folder(options_.results, options_.results_option);
    return std::string();
  });
}

void Trainer::make_store() {
  options_.setup.shard_weights = options_.plan.shard_weights;
  parallel::StoreOptions store = measure::store_options(options_.setup, options_.adamw);
  store.loss_scaling = options_.loss_scaling;
  store_ = parallel::make_store(model_, communicator_, store, &trace_);
}

void Trainer::load_state() {
  try {
    make_store();
    if (options_.resume.empty()) {
      fresh_state();
    } else {
      resume_state();
    }
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    throw RunError(fmt::format("rank {}: out of memory before the first step: {}; {}", communicator_.rank(),
                               error.what(), measure::memory_advice(options_.setup)));
  }
  parallel::WalkerOptions walking = measure::walker_options(options_.setup);
  walking.label_smoothing = options_.label_smoothing;
  walker_ = std::make_unique<parallel::BlockWalker>(model_, *store_, walking, &emulator_, &trace_);
}

void Trainer::fresh_state() {
  const auto scope = measure::scope_of_values(options_.setup);
  if (options_.init.empty()) return store_->take_values(model::initial_block_values(model_, options_.seed));
  store_->take_values(
      parallel::values_of_rank_0(communicator_, model_, saved_block_values(model_, options_.init, "--init")));
}

void Trainer::resume_state() {
  resumed_from_ = find_good_checkpoint(communicator_, options_.resume);
  comm::agree(communicator_, [&] {
    const CheckpointInfo info = read_checkpoint_info(resumed_from_);
    require_steps_left(resumed_from_, info, last_step_);
    require_same_run(resumed_from_, info, checkpoint_info(info.step), options_.resume_with_changes);
    changes_ = changes_since(info, checkpoint_info(info.step));
    first_step_ = info.step;
  });
  load_checkpoint(communicator_, resumed_from_, model_, *store_);
  if (!speaks_) return;
  spdlog::info("resumed after step {} from {}", first_step_, resumed_from_.string());
  if (!changes_.empty()) spdlog::warn("--resume-with-changes: {}", fmt::join(changes_, ", "));
}

CheckpointInfo Trainer::checkpoint_info(std::int64_t step) const {
  return {.step = step,
          .total = sampler_->total(),
          .seed = options_.seed,
          .precision = parallel::to_text(options_.setup.precision),
          .model = model_.description,
          .training = training_settings(options_),
          .data = data_identity_,
          .program = options_.invocation.program};
}

/// Checkpoints of this run after the one it goes on from are no longer its newest.
void Trainer::leave_abandoned(const fs::path& checkpoint) {
  if (fs::weakly_canonical(run_of(checkpoint)) != fs::weakly_canonical(options_.results)) return;
  const fs::path moved = abandon_later_checkpoints(options_.results, first_step_);
  if (!moved.empty())
    spdlog::warn("the checkpoints after step {} now lie in {}, with the metrics of their steps", first_step_,
                 moved.string());
}

RunRecord Trainer::describe() const {
  RunRecord run{
      .model = model_.name,
      .mode = parallel::to_text(options_.setup.mode),
      .precision = parallel::to_text(options_.setup.precision),
      .wire = parallel::to_text(options_.setup.wire),
      .total = sampler_->total(),
      .ranks = {},
      .predicted = std::nullopt,
      .offload = options_.setup.offload,
      .tokens_per_sample = model_.input.kind == model::InputSpec::Kind::tokens ? model_.terms_per_sample() : 0,
      .resumed_after = first_step_,
      .time = utc_time_text()};
  for (const plan::RankPlan& rank : options_.plan.ranks) {
    const auto r = static_cast<std::size_t>(rank.rank);
    run.ranks.push_back({rank.rank, rank.host, rank.batch, options_.max_batch.empty() ? 0 : options_.max_batch[r],
                         speeds_[r], devices_[r]});
  }
  if (options_.plan.predicted.step_seconds > 0) run.predicted = options_.plan.predicted;
  return run;
}

/// What run.json says of this launch. All ranks call it.
Json Trainer::describe_launch() {
  const Json mine{{"rank", communicator_.rank()},
                  {"host", options_.setup.host},
                  {"pid", ::getpid()},
                  {"device", options_.setup.compute_device->name()},
                  {"threads", options_.setup.threads},
                  {"speed", options_.setup.speed},
                  {"memory_bytes", options_.setup.memory_bytes}};
  Json ranks = Json::array();
  for (const std::string& text : comm::all_gather_text(communicator_, json_text(mine)))
    ranks.push_back(Json::parse(text));
  Json launch{
      {"started", utc_time_text()},
      {"program", options_.invocation.program},
      {"command", options_.invocation.command},
      {"options", options_.invocation.options},
      {"ranks", ranks},
      {"model", {{"name", model_.name}, {"parameters", model_.parameter_count()}, {"description", model_.description}}},
      {"data", data_identity_},
      {"eval_data", eval_identity_},
      {"training", training_settings(options_)},
      {"steps", last_step_},
      {"plan", plan::to_json(options_.plan)},
      {"measured_with", options_.measured_with}};
  if (!resumed_from_.empty()) {
    launch["resumed_from"] = resumed_from_.string();
    launch["resumed_after"] = first_step_;
    launch["changes"] = changes_;
  }
  return launch;
}

/// From here on files of the run directory are written.
void Trainer::begin_run() {
  const Json launch = describe_launch();
  comm::on_rank_0(communicator_, [&] {
    if (!options_.results.empty()) {
      if (!resumed_from_.empty()) {
        leave_abandoned(resumed_from_);
      } else if (options_.overwrite) {
        remove_earlier_run(options_.results);
      }
      if (options_.measured) plan::write_profile(options_.results / "profile.json", *options_.measured);
      plan::write_plan(options_.results / "batches.json", options_.plan);
      write_run_file(options_.results, launch, !resumed_from_.empty());
      keep_tokenizer(options_.data, options_.results);
    }
    const RunRecord record = describe();
    metrics_ = std::make_unique<MetricsWriter>(options_.results, record);
    log_ = std::make_unique<StepLog>(first_step_, last_step_, record.tokens_per_sample);
    return std::string();
  });
}

std::optional<data::Request> Trainer::request(std::int64_t k) const {
  const std::int64_t step = first_step_ + k;
  if (step >= last_step_) return std::nullopt;
  return data::Request{sampler_->samples_of(step, communicator_.rank()), sampler_->epoch_of(step)};
}

Json Trainer::run() {
  const std::vector<std::string> hosts = comm::all_gather_hosts(communicator_);
  for (std::size_t r = 0; r < hosts.size(); ++r) options_.plan.ranks[r].host = hosts[r];
  speeds_ = comm::all_gather_values(communicator_, options_.setup.speed);
  devices_ = comm::all_gather_text(communicator_, options_.setup.compute_device->name());
  begin_run();
  loader_ = std::make_unique<data::PrefetchingLoader>(
      *data_, preparation_for(model_, options_.augmentation), [this](std::int64_t k) { return request(k); },
      options_.setup.compute_device);
  statistics_ = std::make_unique<StepStatistics>(communicator_);
  rebalancing_ =
      std::make_unique<Rebalancing>(communicator_, options_.plan, options_.profile,
                                    communicator_.size() > 1 ? options_.rebalance_every : 0, options_.rebalance);
  weights_ = std::make_unique<RunWeights>(communicator_, model_, *store_,
                                          RunWeightsOptions{options_.results, options_.save, options_.keep_best,
                                                            options_.setup.precision, options_.results_option});
  weights_->begin(first_step_);
  communicator_.barrier();
  begun_ = last_checkpoint_ = now_seconds();
  begin_timing();
  for (std::int64_t step = first_step_; step < last_step_; ++step) {
    run_step(step);
    const std::int64_t done = step + 1;
    rebalance(done);
    if (options_.eval_every > 0 && done % options_.eval_every == 0 && done < last_step_) run_evaluation(done);
    if (is_checkpoint_due(done)) checkpoint(done);
    stop_if_interrupted(done);
  }
  finish();
  const std::string summary = write_summary(true);
  if (last_evaluation_) require_finite_loss(*last_evaluation_);
  return Json::parse(summary);
}

/// And trace.json, where it was asked for. All ranks call it.
std::string Trainer::write_summary(bool finished) {
  if (options_.trace) write_run_trace(communicator_, trace_, options_.results / "trace.json");
  return comm::on_rank_0(communicator_, [&] {
    Json result = metrics_->summary(now_seconds() - begun_, finished);
    result["best"] = weights_->best();
    if (!options_.results.empty()) write_json(options_.results / "summary.json", result);
    return json_text(result);
  });
}

/// The rank's samples of the step in the plan's micro-batches, in the order in which they run. Fewer samples, at the
/// end of an epoch, fill fewer of them.
std::vector<std::int64_t> Trainer::micro_batches_of(std::int64_t step, int rank) const {
  std::int64_t left = sampler_->slice_of(step, rank).count();
  std::vector<std::int64_t> micro_batches;
  for (const std::int64_t planned :
       plan::in_training_order(options_.plan.ranks[static_cast<std::size_t>(rank)].micro_batches)) {
    if (left == 0) break;
    micro_batches.push_back(std::min(planned, left));
    left -= micro_batches.back();
  }
  return micro_batches;
}

parallel::Update Trainer::update_of(std::int64_t step) const {
  std::int64_t passes = 1;
  for (int rank = 0; store_->gathers_every_pass() && rank < communicator_.size(); ++rank)
    passes = std::max(passes, static_cast<std::int64_t>(micro_batches_of(step, rank).size()));
  return {.step = step + 1,
          .learning_rate = learning_rate_at(options_.schedule, step),
          .global_terms = sampler_->global_count(step) * model_.terms_per_sample(),
          .clip_norm = options_.clip_norm,
          .passes = passes};
}

void Trainer::run_step(std::int64_t step) {
  const double begun = now_seconds();
  const std::optional<data::Batch> batch = loader_->next();
  if (!batch) throw std::logic_error("the loader ended before the last step");
  data_wait_seconds_ += now_seconds() - begun;
  const std::vector<std::int64_t> micro_batches = micro_batches_of(step, communicator_.rank());
  walker_->begin_step(update_of(step), static_cast<std::int64_t>(micro_batches.size()), batch->input);
  const double loss = run_micro_batches(*batch, micro_batches);
  steps_done_ = step + 1;
  collect(step, loss, batch->samples());
}

double Trainer::run_micro_batches(const data::Batch& batch, const std::vector<std::int64_t>& micro_batches) {
  double loss = 0;
  std::int64_t begin = 0;
  for (const std::int64_t samples : micro_batches) {
    loss += train_guarded(batch, begin, samples, begin + samples == batch.samples());
    begin += samples;
  }
  return loss;
}

double Trainer::train_guarded(const data::Batch& batch, std::int64_t begin, std::int64_t samples, bool last) {
  try {
    return walker_->train_micro_batch(batch.input.narrow(0, begin, samples), batch.target.narrow(0, begin, samples),
                                      last);
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    throw RunError(
        fmt::format("rank {}: out of memory with a micro-batch of {} samples: {}; give it smaller --batches, {}",
                    communicator_.rank(), samples, error.what(), measure::memory_advice(options_.setup)));
  }
}

/// What this rank has counted since the start.
LocalStep Trainer::totals() const {
  const comm::Counters counters = communicator_.counters();
  return {.step = steps_done_,
          .compute_seconds = compute_seconds(),
          .communication_seconds = counters.busy_seconds,
          .wait_seconds = store_->wait_seconds() + data_wait_seconds_,
          .cpu_seconds = process_cpu_seconds(),
          .communication_cpu_seconds = counters.cpu_seconds,
          .interrupted = interrupted()};
}

/// What passed up to now, measuring and evaluation for example, belongs to no step.
void Trainer::begin_timing() { statistics_->begin(now_seconds(), totals()); }

/// Seconds of computing since the start.
double Trainer::compute_seconds() const {
  return options_.pretended_compute_seconds ? pretended_compute_seconds_
                                            : walker_->compute_seconds() + store_->update_seconds();
}

/// Sends this step's figures round. They are read a step later: nothing waits for them.
void Trainer::collect(std::int64_t step, double loss, std::int64_t samples) {
  if (options_.pretended_compute_seconds)
    pretended_compute_seconds_ += options_.pretended_compute_seconds(step + 1, samples);
  LocalStep local = totals();
  local.loss = loss;
  local.checkpoint_due = ask_for_checkpoint();
  if (step > first_step_) {
    local.squared_norm_of_previous = store_->local_squared_norm(step);
    local.loss_scale_of_previous = store_->loss_scale_of(step);
  }
  report(statistics_->end_step(local));
}

void Trainer::report(const std::vector<GatheredStep>& steps) {
  for (const GatheredStep& gathered : steps) {
    require_finite(gathered);
    interrupted_anywhere_ = interrupted_anywhere_ || gathered.interrupted;
    checkpoint_due_ = checkpoint_due_ || gathered.checkpoint_due;
    if (sampler_->global_count(gathered.step - 1) == sampler_->total()) rebalancing_->observe(gathered.record);
    report_step(gathered);
  }
}

/// As all ranks' stores decided: see ParameterStore::local_squared_norm().
bool Trainer::was_skipped(const GatheredStep& gathered) const {
  return options_.setup.precision == parallel::Precision::fp16 && !std::isfinite(gathered.record.gradient_norm);
}

/// Where a smaller loss scale may help, a step that was skipped is no error.
void Trainer::require_finite(const GatheredStep& gathered) {
  const bool skipped = was_skipped(gathered);
  if (skipped && gathered.loss_scale > 1) return;
  const auto fail = [&](const std::string& what) {
    store_->synchronize();  // all ranks come here: what they have under way can end
    throw AgreedError(what, 1);
  };
  for (std::size_t rank = 0; rank < gathered.losses.size(); ++rank) {
    if (std::isfinite(gathered.losses[rank])) continue;
    fail(fmt::format("the loss is not finite at step {} on rank {}; try a smaller --lr, or --clip", gathered.step,
                     rank));
  }
  if (skipped) {
    fail(
        fmt::format("gradients overflow in fp16 at step {} with a loss scale of 1; try --precision fp32, or a smaller "
                    "--lr",
                    gathered.step));
  }
}

void Trainer::report_step(const GatheredStep& gathered) {
  if (!speaks_) return;
  const std::int64_t step = gathered.step - 1, samples = sampler_->global_count(step);
  StepRecord record = gathered.record;
  record.epoch = sampler_->epoch_of(step);
  record.samples = samples;
  record.batches = rebalancing_->batches_at(gathered.step);
  record.loss = std::accumulate(gathered.losses.begin(), gathered.losses.end(), 0.0) /
                static_cast<double>(samples * model_.terms_per_sample());
  record.learning_rate = learning_rate_at(options_.schedule, step);
  record.skipped = was_skipped(gathered);
  if (options_.setup.precision == parallel::Precision::fp16) record.loss_scale = gathered.loss_scale;
  metrics_->add(record);
  log_->step(record);
}

/// Steps from `done` on follow the new split, if one was decided. The order of samples does not change.
void Trainer::rebalance(std::int64_t done) {
  const std::optional<RebalanceRecord> change = rebalancing_->end_step(done);
  if (!change || done == last_step_) return;
  loader_->restart(done - first_step_, [&] { sampler_->set_batches(change->batches); });
  options_.plan = rebalancing_->plan();
  if (store_->gathers_every_pass()) share_micro_batches();
  if (!speaks_) return;
  metrics_->add(*change);
  log_->message(train::describe(*change));
}

/// Passes are collective: all ranks must count them alike, also where processors round the solver's figures
/// differently.
void Trainer::share_micro_batches() {
  const Json mine = options_.plan.ranks[static_cast<std::size_t>(communicator_.rank())].micro_batches;
  const std::vector<std::string> texts = comm::all_gather_text(communicator_, json_text(mine));
  for (std::size_t r = 0; r < texts.size(); ++r)
    options_.plan.ranks[r].micro_batches = Json::parse(texts[r]).get<std::vector<std::int64_t>>();
}

/// Reads the figures of the steps that are done. All ranks call it, with a synchronized store.
void Trainer::report_pending() {
  store_->synchronize();
  const bool any = steps_done_ > first_step_;
  report(statistics_->flush(any ? store_->local_squared_norm(steps_done_) : 0,
                            any ? store_->loss_scale_of(steps_done_) : 1));
}

void Trainer::run_evaluation(std::int64_t step) {
  report_pending();
  if (!eval_data_) return;
  std::vector<std::int64_t> weights = batches_of(options_.plan);
  const auto& micro_batches = options_.plan.ranks[static_cast<std::size_t>(communicator_.rank())].micro_batches;
  const EvaluationRecord record = evaluate(communicator_, model_, *walker_, *eval_data_, preparation_for(model_, {}),
                                           weights, micro_batches.empty() ? 1 : micro_batches.front(), step);
  if (speaks_) {
    metrics_->add(record);
    log_->evaluation(record);
  }
  last_evaluation_ = record;
  if (weights_->evaluated(record) && speaks_) log_->message(fmt::format("best so far: weights of step {} kept", step));
  begin_timing();
}

bool Trainer::is_checkpoint_due(std::int64_t step) const {
  return checkpoint_due_ || (options_.checkpoint_every > 0 && step % options_.checkpoint_every == 0);
}

/// Rank 0's clock decides; all ranks hear of it with the figures of the step. Asked for once.
bool Trainer::ask_for_checkpoint() {
  if (!speaks_ || options_.checkpoint_seconds <= 0 || now_seconds() - last_checkpoint_ < options_.checkpoint_seconds)
    return false;
  last_checkpoint_ = now_seconds();
  return true;
}

void Trainer::checkpoint(std::int64_t step) {
  report_pending();
  checkpoint_due_ = false;
  last_checkpoint_ = now_seconds();
  checkpointed_step_ = step;
  if (options_.results.empty()) return;
  write_checkpoint(communicator_, options_.results, *store_, checkpoint_info(step), options_.keep_checkpoints);
  if (speaks_) log_->message(fmt::format("checkpoint of step {} written", step));
  begin_timing();
}

void Trainer::stop_if_interrupted(std::int64_t step) {
  if (!interrupted_anywhere_ || step == last_step_) return;
  if (checkpointed_step_ != step) checkpoint(step);
  write_summary(false);
  if (speaks_) log_->finish();
  throw AgreedError(
      options_.results.empty()
          ? fmt::format("interrupted after step {}; nothing was kept, because there is no --results", step)
          : fmt::format("interrupted after step {}; continue with --resume {}, or take its weights with lshdp export",
                        step, options_.results.string()),
      kInterruptedExitCode);
}

void Trainer::finish() {
  report_pending();
  weights_->require_finite(last_step_);
  if (eval_data_) run_evaluation(last_step_);
  const bool wanted = options_.checkpoint_every > 0 || options_.checkpoint_seconds > 0;
  if (wanted && checkpointed_step_ != last_step_) checkpoint(last_step_);
  weights_->finish(last_step_);
  if (speaks_) log_->finish();
}

}  // namespace

void require_resumable(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options) {
  if (options.resume.empty()) return;
  const Json data = identity_by_rank_0(communicator, options.data);
  comm::on_rank_0(communicator, [&] {
    const fs::path checkpoint = find_checkpoint(options.resume);
    CheckpointInfo written;
    try {
      written = read_checkpoint_info(checkpoint);
    } catch (const DamagedCheckpoint&) {
      return std::string();  // another one may be taken in its place
    }
    if (options.steps) require_steps_left(checkpoint, written, *options.steps);
    TrainOptions known = options;
    known.schedule.total_steps = options.steps.value_or(0);
    CheckpointInfo now{.step = written.step,
                       .total = written.total,  // is known when batches are
                       .seed = options.seed,
                       .precision = parallel::to_text(options.setup.precision),
                       .model = model.description,
                       .training = training_settings(known),
                       .data = data,
                       .program = {}};
    if (!options.steps) now.training.erase(kLengthSetting);
    require_same_run(checkpoint, written, now, options.resume_with_changes);
    return std::string();
  });
}

Json train(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options) {
  std::unique_ptr<Trainer> trainer;
  try {
    trainer = std::make_unique<Trainer>(communicator, model, options);
    return trainer->run();
  } catch (const AgreedError&) {
    throw;
  } catch (...) {
    // The other ranks do not know yet: nothing that is under way will end.
    communicator.abandon();
    throw;
  }
}

}  // namespace lshdp::train
