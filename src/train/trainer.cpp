// The training loop.
#include "lshdp/train/trainer.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checkpoint.h"
#include "forward_report.h"
#include "held_part.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/activity.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/interrupt.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/memory.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/core/trace.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/trained_part.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/evaluate.h"
#include "lshdp/train/run_claim.h"
#include "lshdp/train/saved_adapter.h"
#include "lshdp/train/saved_model.h"
#include "lshdp/train/shared_weights.h"
#include "rebalancing.h"
#include "resume.h"
#include "run_checkpoints.h"
#include "run_data.h"
#include "run_record.h"
#include "run_trace.h"
#include "run_weights.h"
#include "settings.h"
#include "stage_rebalancing.h"
#include "step_reporter.h"
#include "step_statistics.h"
#include "weight_average.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

class Trainer {
 public:
  Trainer(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options);
  Json run();

 private:
  void prepare_folders();
  void load_state();
  model::BlockValues first_values();
  void take_first_values();
  void begin_average();
  void begin_average_weights();
  void evaluate_average(EvaluationRecord& record);
  parallel::StateAccess& state();
  void resume_state();
  void warn_of_warm_up() const;
  std::optional<int> data_rank() const;
  void begin_run();
  void write_files_of_run(const Json& launch);
  void leave_abandoned_checkpoints();
  std::optional<data::Request> request(std::int64_t k) const;
  std::vector<std::int64_t> micro_batches_of(std::int64_t step, int rank) const;
  parallel::Update update_of(std::int64_t step) const;
  void run_step(std::int64_t step);
  void tell_of_forward();
  double train_batch(std::int64_t step, const data::Batch& batch);
  LocalStep totals() const;
  double compute_seconds() const;
  void begin_timing();
  void collect(std::int64_t step, double loss, std::int64_t samples);
  void report(const std::vector<GatheredStep>& steps);
  void observe(const StepRecord& step);
  void report_pending();
  void rebalance(std::int64_t done);
  std::optional<StageChange> next_cuts(std::int64_t done);
  void move_blocks(std::int64_t done);
  RunCheckpointOptions checkpoint_options() const;
  void share_micro_batches();
  void run_evaluation(std::int64_t step);
  EvaluationRecord evaluated(std::int64_t step);
  void checkpoint(std::int64_t step);
  void stop_if_interrupted(std::int64_t step);
  void finish();
  std::string write_summary(bool finished);

  comm::Communicator& communicator_;
  const model::Model& model_;
  std::optional<model::Model> base_;  // of a model with adapters
  model::BlockValues first_values_;   // what the run begins with, of a model that is not all trained
  TrainOptions options_;
  bool is_root_;
  Trace trace_;
  SpeedEmulator emulator_;
  NewFolders save_folder_, results_folder_;  // rank 0
  RunData data_;
  std::unique_ptr<HeldPart> part_;
  std::unique_ptr<WeightAverage> average_;       // null: none
  std::optional<ForwardReport> forward_report_;  // until the first step is done
  std::unique_ptr<data::PrefetchingLoader> loader_;
  std::unique_ptr<StepStatistics> statistics_;
  std::unique_ptr<Rebalancing> rebalancing_;
  std::unique_ptr<StageRebalancing> stage_rebalancing_;  // null: cuts stay
  std::unique_ptr<StepReporter> reporter_;
  std::unique_ptr<RunWeights> weights_;
  std::unique_ptr<RunWeights> average_weights_;  // null: none are kept
  RunCheckpoints checkpoints_;
  ResumePoint from_;
  std::int64_t last_step_ = 0;            // one past the last, counted from 0
  std::int64_t steps_done_ = 0;           // on this rank; the last one's update may be under way
  std::int64_t first_step_of_store_ = 0;  // counted from 0
  double data_wait_seconds_ = 0;
  double pretended_compute_seconds_ = 0;
  bool interrupted_anywhere_ = false;
  std::optional<EvaluationRecord> last_evaluation_;
  double begun_ = 0;
};

Trainer::Trainer(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options)
    : communicator_(communicator),
      model_(model),
      options_(options),
      is_root_(communicator.rank() == 0),
      emulator_(options.setup.speed),
      data_(open_run_data(communicator, model, options)),
      checkpoints_(
          communicator, checkpoint_options(), [this] { report_pending(); },
          [this](const std::string& text) { reporter_->message(text); }),
      last_step_(data_.steps(options)) {
  options_.schedule.total_steps = last_step_;
  if (options.trace) trace_.enable();
  warn_of_warm_up();
  prepare_folders();
  load_state();
}

void Trainer::warn_of_warm_up() const {
  const std::int64_t steps = options_.schedule.warmup_steps;
  if (is_root_ && steps >= last_step_ && steps > 0)
    spdlog::warn("--warmup: the rate rises for {} steps, but the run ends after {}: it never reaches --lr", steps,
                 last_step_);
}

void Trainer::prepare_folders() {
  comm::on_rank_0(communicator_, [&] {
    if (!options_.save.empty()) save_folder_ = require_writable_file(options_.save, "--save");
    if (!options_.results.empty()) results_folder_ = require_writable_folder(options_.results, options_.results_option);
    return std::string();
  });
}

void Trainer::load_state() {
  try {
    options_.setup.shard_weights = options_.plan.shard_weights;
    part_ = std::make_unique<HeldPart>(communicator_, model_, options_, emulator_, trace_);
    if (options_.resume.empty()) {
      take_first_values();
    } else {
      resume_state();
    }
    begin_average();
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    throw RunError(fmt::format("rank {}: out of memory before the first step: {}; {}", communicator_.rank(),
                               error.what(), measure::memory_advice(options_.setup)));
  }
  if (options_.verbose_forward) forward_report_.emplace(model_, part_->walker());
}

/// Whose samples this rank trains: its own, or in a pipeline those of its replica. None: it is left out.
std::optional<int> Trainer::data_rank() const {
  if (!options_.layout) return communicator_.rank();
  return plan::data_rank_of(*options_.layout, communicator_.rank());
}

/// By files or by the seed; with adapters the model's own values stay what they are here.
model::BlockValues Trainer::first_values() {
  if (model::lora_of(model_)) base_ = model::base_of(model_);
  const model::Model& model = base_ ? *base_ : model_;
  const model::WeightChanges changes{.new_head = options_.new_head, .image_size = true, .seed = options_.seed};
  model::BlockValues values = options_.init.empty() ? model::initial_block_values(model, options_.seed)
                                                    : saved_block_values(model, options_.init, "--init", changes);
  if (model::is_partly_frozen(model)) first_values_ = values;
  return base_ ? values_with_adapter(model_, std::move(values), options_.adapter, options_.seed) : values;
}

void Trainer::take_first_values() {
  const auto scope = measure::scope_of_values(options_.setup);
  const bool drawn = options_.init.empty() && options_.adapter.empty();
  part_->store().take_values(drawn ? parallel::values_of_held_blocks(model_, part_->placement(), first_values())
                                   : values_on_all_ranks(communicator_, model_, part_->placement(), first_values(),
                                                         {options_.init, options_.adapter}));
}

void Trainer::begin_average() {
  if (options_.ema == 0 || average_) return;
  comm::agree(communicator_, [&] {
    if (part_->can_move() && options_.rebalance_every > 0 && options_.profile)
      throw UsageError("--ema: the average of blocks that move to other ranks does not follow; add --rebalance off");
  });
  average_ = std::make_unique<WeightAverage>(part_->store(), options_.ema);
}

/// With the average of the weights, where there is one.
parallel::StateAccess& Trainer::state() {
  if (average_) return *average_;
  return part_->store();
}

void Trainer::resume_state() {
  from_.checkpoint = find_good_checkpoint(communicator_, options_.resume);
  bool averaged = false;
  comm::agree(communicator_, [&] {
    const CheckpointInfo written = read_checkpoint_info(from_.checkpoint);
    const CheckpointInfo now = checkpoint_info(model_, options_, data_.identity, written.step, data_.sampler->total());
    require_steps_left(from_.checkpoint, written, last_step_);
    require_same_run(from_.checkpoint, written, now, options_.resume_with_changes);
    from_.changes = changes_since(written, now);
    from_.step = written.step;
    averaged = holds_averages(written);
  });
  if (model::is_partly_frozen(model_)) take_first_values();  // a checkpoint holds what is trained
  if (averaged) begin_average();
  load_checkpoint(communicator_, from_.checkpoint, state());
  // Where no step is left, it is not written again over itself.
  const bool own = comm::on_rank_0(communicator_, [&] {
                     const fs::path own_folder = checkpoint_folder(options_.results, from_.step);
                     return fs::weakly_canonical(from_.checkpoint) == fs::weakly_canonical(own_folder) ? "own" : "";
                   }) == "own";
  if (own) checkpoints_.note_saved(from_.step);
  if (!is_root_) return;
  spdlog::info("resumed after step {} from {}", from_.step, from_.checkpoint.string());
  if (!from_.changes.empty()) spdlog::warn("--resume-with-changes: {}", fmt::join(from_.changes, ", "));
}

/// Checkpoints of this run after the one it goes on from are no longer its newest.
void Trainer::leave_abandoned_checkpoints() {
  if (fs::weakly_canonical(run_of(from_.checkpoint)) != fs::weakly_canonical(options_.results)) return;
  const fs::path moved = abandon_later_checkpoints(options_.results, from_.step);
  if (!moved.empty())
    spdlog::warn("the checkpoints after step {} now lie in {}, with the metrics of their steps", from_.step,
                 moved.string());
}

void Trainer::write_files_of_run(const Json& launch) {
  if (options_.results.empty()) return;
  if (!from_.checkpoint.empty()) {
    leave_abandoned_checkpoints();
  } else if (options_.overwrite) {
    remove_earlier_run(options_.results);
  }
  if (options_.layout)
    plan::write_layout(options_.results / "layout.json", *options_.layout);
  else
    fs::remove(options_.results / "layout.json");  // of an earlier launch
  if (options_.measured) plan::write_profile(options_.results / "profile.json", *options_.measured);
  plan::write_plan(options_.results / "batches.json", options_.plan);
  write_run_file(options_.results, launch, !from_.checkpoint.empty());
  keep_tokenizer(options_.data, options_.results);
}

/// From here on files of the run directory are written.
void Trainer::begin_run() {
  const std::vector<std::string> hosts = comm::all_gather_hosts(communicator_);
  for (std::size_t r = 0; r < hosts.size(); ++r) options_.plan.ranks[r].host = hosts[r];
  statistics_ = std::make_unique<StepStatistics>(communicator_);
  rebalancing_ = std::make_unique<Rebalancing>(
      communicator_, options_.plan, options_.profile,
      communicator_.size() > 1 && !options_.layout ? options_.rebalance_every : 0, options_.rebalance);
  if (part_->can_move() && options_.rebalance_every > 0 && options_.profile)
    stage_rebalancing_ =
        std::make_unique<StageRebalancing>(communicator_, *options_.layout, *options_.profile, options_.rebalance_every,
                                           plan::StageRebalanceOptions{.rebalance = options_.rebalance,
                                                                       .needs = parallel::layout_needs(model_),
                                                                       .last_step = last_step_,
                                                                       .memory_share = plan::kSafeMemoryShare});
  first_step_of_store_ = from_.step;
  reporter_ = std::make_unique<StepReporter>(
      ReportedSteps{.first = from_.step,
                    .last = last_step_,
                    .scales_loss = options_.setup.strategy.precision == plan::Precision::fp16,
                    .schedule = options_.schedule,
                    .terms = [this](std::int64_t step) { return data_.global_terms(step); }},
      *data_.sampler, *rebalancing_);
  const Json launch = describe_launch(communicator_, model_, options_, data_, last_step_, from_);
  const RunRecord record = describe_run(communicator_, model_, options_, data_.sampler->total(), from_);
  comm::on_rank_0(communicator_, [&] {
    write_files_of_run(launch);
    reporter_->begin(options_.results, record, options_.tensorboard);
    return std::string();
  });
  loader_ = std::make_unique<data::PrefetchingLoader>(
      *data_.training, preparation_for(model_, options_.augmentation), [this](std::int64_t k) { return request(k); },
      options_.setup.compute_device);
  weights_ = std::make_unique<RunWeights>(
      communicator_, model_, part_->store(),
      RunWeightsOptions{options_.results, options_.save, options_.keep_best, options_.setup.strategy.precision,
                        options_.results_option, options_.init, first_values_});
  weights_->begin(from_.step);
  begin_average_weights();
  checkpoints_.follow(part_->store(), state(), from_.step);
}

void Trainer::begin_average_weights() {
  if (!average_ || options_.results.empty()) return;
  RunWeightsOptions keeping{.results = options_.results / kEmaFolder,
                            .save = {},
                            .precision = options_.setup.strategy.precision,
                            .results_option = options_.results_option,
                            .base = options_.init,
                            .first_values = first_values_};
  comm::on_rank_0(communicator_, [&] {
    fs::create_directories(keeping.results);
    return std::string();
  });
  average_weights_ = std::make_unique<RunWeights>(communicator_, model_, part_->store(), std::move(keeping));
  average_weights_->begin(from_.step);
}

/// As CheckpointWriter::begin() asks, fp16 and devices of their own memory settle first.
RunCheckpointOptions Trainer::checkpoint_options() const {
  const auto& device = options_.setup.compute_device;
  return {.folder = {options_.results, options_.keep_checkpoints},
          .every_steps = options_.checkpoint_every,
          .every_seconds = options_.checkpoint_seconds,
          .settles = options_.setup.strategy.precision == plan::Precision::fp16 || (device && device->has_own_memory()),
          .device = device};
}

Json Trainer::run() {
  begin_run();
  communicator_.barrier();
  begun_ = now_seconds();
  checkpoints_.begin();
  begin_timing();
  for (std::int64_t step = from_.step; step < last_step_; ++step) {
    run_step(step);
    if (step == from_.step) tell_of_forward();
    const std::int64_t done = step + 1;
    rebalance(done);
    move_blocks(done);
    if (options_.eval_every > 0 && done % options_.eval_every == 0 && done < last_step_) run_evaluation(done);
    if (checkpoints_.is_due(done)) checkpoint(done);
    stop_if_interrupted(done);
  }
  finish();
  const std::string summary = write_summary(true);
  if (last_evaluation_) require_finite_loss(*last_evaluation_);
  return Json::parse(summary);
}

std::optional<data::Request> Trainer::request(std::int64_t k) const {
  const std::int64_t step = from_.step + k;
  if (step >= last_step_) return std::nullopt;
  const std::optional<int> rank = data_rank();
  return data::Request{rank ? data_.sampler->samples_of(step, *rank) : std::vector<std::int64_t>(),
                       data_.sampler->epoch_of(step)};
}

std::vector<std::int64_t> Trainer::micro_batches_of(std::int64_t step, int rank) const {
  return plan::micro_batches_of(options_.plan.ranks[static_cast<std::size_t>(rank)],
                                data_.sampler->slice_of(step, rank).count());
}

parallel::Update Trainer::update_of(std::int64_t step) const {
  std::int64_t passes = 1;
  for (int rank = 0; part_->store().gathers_every_pass() && rank < communicator_.size(); ++rank)
    passes = std::max(passes, std::ssize(micro_batches_of(step, rank)));
  return {.step = step + 1,
          .learning_rate = learning_rate_at(options_.schedule, step),
          .global_terms = data_.global_terms(step),
          .clip_norm = options_.clip_norm,
          .passes = passes};
}

void Trainer::run_step(std::int64_t step) {
  const double begun = now_seconds();
  note_activity(Doing::reading_data, step + 1);
  const std::optional<data::Batch> batch = loader_->next();
  if (!batch) throw std::logic_error("the loader ended before the last step");
  data_wait_seconds_ += now_seconds() - begun;
  const double loss = train_batch(step, *batch);
  steps_done_ = step + 1;
  note_activity(Doing::ending_step);
  collect(step, loss, batch->samples());
}

void Trainer::tell_of_forward() {
  if (!forward_report_) return;
  const std::string table = forward_report_->table(communicator_, options_.layout);
  forward_report_.reset();
  if (is_root_) print_output(table);
}

double Trainer::train_batch(std::int64_t step, const data::Batch& batch) {
  const std::optional<int> rank = data_rank();
  const std::vector<std::int64_t> micro_batches = rank ? micro_batches_of(step, *rank) : std::vector<std::int64_t>();
  try {
    const std::int64_t first = rank ? data_.sampler->slice_of(step, *rank).begin : 0;
    return part_->train_step(update_of(step), batch, micro_batches, first);
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    const std::int64_t samples = micro_batches.empty() ? 0 : std::ranges::max(micro_batches);
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
          .wait_seconds = part_->wait_seconds() + data_wait_seconds_,
          .cpu_seconds = process_cpu_seconds(),
          .communication_cpu_seconds = counters.cpu_seconds,
          .bytes_sent = counters.bytes_sent,
          .peak_tensor_bytes = options_.memory != nullptr ? options_.memory->peak() : 0,
          .interrupted = interrupted()};
}

/// Time so far, of measuring and evaluation for example, belongs to no step.
void Trainer::begin_timing() { statistics_->begin(now_seconds(), totals()); }

/// Seconds of computing since the start.
double Trainer::compute_seconds() const {
  return options_.pretended_compute_seconds ? pretended_compute_seconds_ : part_->compute_seconds();
}

/// Sends this step's figures round. They are read a step later: nothing waits for them.
void Trainer::collect(std::int64_t step, double loss, std::int64_t samples) {
  if (options_.pretended_compute_seconds)
    pretended_compute_seconds_ += options_.pretended_compute_seconds(step + 1, samples, part_->blocks());
  LocalStep local = totals();
  local.loss = loss;
  local.checkpoint_due = checkpoints_.ask();
  local.checkpoint_progress = checkpoints_.progress();
  if (step > first_step_of_store_) {
    const parallel::StepReport previous = part_->store().report_of(step);
    local.squared_norm_of_previous = previous.local_squared_norm;
    local.loss_scale_of_previous = previous.loss_scale;
  }
  report(statistics_->end_step(local));
}

void Trainer::report(const std::vector<GatheredStep>& steps) {
  for (const GatheredStep& gathered : steps) {
    if (const std::string failure = reporter_->failure_of(gathered); !failure.empty()) {
      part_->store().synchronize();  // all ranks come here: what they have under way can end
      checkpoints_.finish_before(gathered.step);
      throw AgreedError(failure, 1);
    }
    interrupted_anywhere_ = interrupted_anywhere_ || gathered.interrupted;
    if (gathered.checkpoint_due) checkpoints_.note_due();
    if (data_.sampler->global_count(gathered.step - 1) == data_.sampler->total()) observe(gathered.record);
    reporter_->add(gathered);
    checkpoints_.advance(gathered.checkpoint_progress);
  }
}

/// A step of a whole global batch.
void Trainer::observe(const StepRecord& step) {
  rebalancing_->observe(step);
  if (stage_rebalancing_) stage_rebalancing_->observe(step);
}

/// Reads the figures of the steps that are done. All ranks call it.
void Trainer::report_pending() {
  part_->store().synchronize();
  const bool any = steps_done_ > first_step_of_store_;
  const parallel::StepReport last = any ? part_->store().report_of(steps_done_) : parallel::StepReport{};
  report(statistics_->flush(last.local_squared_norm, last.loss_scale));
}

/// Steps from `done` on follow the new split, if one was decided. The order of samples does not change.
void Trainer::rebalance(std::int64_t done) {
  const std::optional<RebalanceRecord> change = rebalancing_->end_step(done);
  if (!change || done == last_step_) return;
  loader_->restart(done - from_.step, [&] { data_.sampler->set_batches(change->batches); });
  options_.plan = rebalancing_->plan();
  if (part_->store().gathers_every_pass()) share_micro_batches();
  reporter_->add(*change);
}

std::optional<StageChange> Trainer::next_cuts(std::int64_t done) {
  if (!options_.next_layout) return stage_rebalancing_ ? stage_rebalancing_->end_step(done) : std::nullopt;
  const std::optional<plan::Layout> next = options_.next_layout(done);
  if (!next) return std::nullopt;
  return stage_change(*options_.layout, *next, static_cast<std::size_t>(communicator_.size()), done + 1);
}

/// The pipeline of steps from `done` on is cut elsewhere, if that was decided. A checkpoint under way is of the store
/// that there was.
void Trainer::move_blocks(std::int64_t done) {
  std::optional<StageChange> change = next_cuts(done);
  if (!change || done == last_step_) return;
  const double begun = now_seconds();
  note_activity(Doing::moving_blocks, done);
  checkpoints_.leave_store();
  report_pending();
  change->record.moved_bytes = part_->move_to(change->layout);
  weights_->follow(part_->store());
  checkpoints_.follow(part_->store(), state(), done);
  first_step_of_store_ = done;
  options_.layout = std::move(change->layout);
  comm::on_rank_0(communicator_, [&] {
    if (!options_.results.empty()) plan::write_layout(options_.results / "layout.json", *options_.layout);
    return std::string();
  });
  change->record.move_seconds = now_seconds() - begun;
  reporter_->add(change->record);
  begin_timing();
}

/// Passes are collective: all ranks must count them alike, also where processors round the solver's figures
/// differently.
void Trainer::share_micro_batches() {
  const Json mine = options_.plan.ranks[static_cast<std::size_t>(communicator_.rank())].micro_batches;
  const std::vector<std::string> texts = comm::all_gather_text(communicator_, json_text(mine));
  for (std::size_t r = 0; r < texts.size(); ++r)
    options_.plan.ranks[r].micro_batches = Json::parse(texts[r]).get<std::vector<std::int64_t>>();
}

void Trainer::evaluate_average(EvaluationRecord& record) {
  if (!average_) return;
  checkpoints_.finish();  // which reads the weights
  const WeightAverage::Shown shown(*average_);
  const EvaluationRecord found = evaluated(record.step);
  record.average_loss = found.loss;
  record.average_accuracy = found.accuracy;
}

void Trainer::run_evaluation(std::int64_t step) {
  note_activity(Doing::evaluating, step);
  report_pending();
  if (!data_.evaluation) return;
  EvaluationRecord record = evaluated(step);
  evaluate_average(record);
  reporter_->add(record);
  last_evaluation_ = record;
  if (weights_->evaluated(record)) reporter_->message(fmt::format("best so far: weights of step {} kept", step));
  begin_timing();
}

/// By the split of training, in its micro-batches.
EvaluationRecord Trainer::evaluated(std::int64_t step) {
  const std::optional<int> rank = data_rank();
  const auto& micro_batches = options_.plan.ranks[static_cast<std::size_t>(rank.value_or(0))].micro_batches;
  const std::int64_t micro_batch = micro_batches.empty() ? 1 : std::ranges::max(micro_batches);
  const std::vector<std::int64_t> weights = plan::batches_of(options_.plan);
  const data::Preparation preparation = preparation_for(model_, {});
  if (parallel::Pipeline* pipeline = part_->pipeline())
    return evaluate(communicator_, model_, *pipeline, rank, *data_.evaluation, preparation, weights, micro_batch, step);
  return evaluate(communicator_, model_, part_->walker(), *data_.evaluation, preparation, weights, micro_batch, step);
}

void Trainer::checkpoint(std::int64_t step) {
  checkpoints_.save(checkpoint_info(model_, options_, data_.identity, step, data_.sampler->total()));
  begin_timing();
}

void Trainer::stop_if_interrupted(std::int64_t step) {
  if (!interrupted_anywhere_ || step == last_step_) return;
  if (!checkpoints_.has(step)) checkpoint(step);
  checkpoints_.finish();
  write_summary(false);
  reporter_->finish();
  throw AgreedError(
      options_.results.empty()
          ? fmt::format("interrupted after step {}; nothing was kept, because there is no --results", step)
          : fmt::format("interrupted after step {}; continue with --resume {}, or take {}", step,
                        options_.results.string(),
                        base_ ? "its adapter as --adapter" : "its weights with lshdp export"),
      kInterruptedExitCode);
}

void Trainer::finish() {
  note_activity(Doing::finishing);
  report_pending();
  weights_->require_finite(last_step_);
  if (data_.evaluation) run_evaluation(last_step_);
  if (checkpoints_.wanted() && !checkpoints_.has(last_step_)) checkpoint(last_step_);
  checkpoints_.finish();
  weights_->finish(last_step_);
  if (average_weights_) {
    const WeightAverage::Shown shown(*average_);
    average_weights_->finish(last_step_);
  }
  reporter_->finish();
}

/// And trace.json, where it was asked for. All ranks call it.
std::string Trainer::write_summary(bool finished) {
  if (options_.trace) write_run_trace(communicator_, trace_, options_.results / "trace.json");
  const double peak = options_.memory != nullptr ? static_cast<double>(options_.memory->peak()) : 0;
  const std::vector<double> peaks = comm::all_gather_values(communicator_, peak);
  return comm::on_rank_0(communicator_, [&] {
    Json result = reporter_->summary(now_seconds() - begun_, finished);
    result["best"] = weights_->best();
    for (std::size_t r = 0; r < peaks.size() && options_.memory != nullptr; ++r)
      result["ranks"][r]["peak_tensor_bytes"] = static_cast<std::int64_t>(peaks[r]);
    if (!options_.results.empty()) write_json(options_.results / "summary.json", result);
    return json_text(result);
  });
}

}  // namespace

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
