// Times micro-batches of a dry run, under the budget of the run.
#include "compute.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "curve.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/median.h"
#include "lshdp/core/progress.h"
#include "lshdp/measure/max_batch.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;
constexpr int kUpdates = 7;
constexpr double kUpdatesSeconds = 3;  // after which three are enough
constexpr double kLoadSeconds = 0.1;   // how long a micro-batch of a rank that is done may take: it must notice the end
constexpr double kMinSeconds = 20, kMaxSeconds = 100;
constexpr double kLikelyBatches = 7;   // times that of the likely batch: it twice, half of it, a quarter more twice
constexpr double kSingleSamples = 45;  // times that of one sample: up to 8 samples, each point twice
constexpr int kRepeats = 3;
constexpr std::int64_t kLargestOfParts = 64;  // samples of a micro-batch, where the total is not known
constexpr double kRepeatSeconds = 0.03, kLongRepeat = 0.5;

/// Computes until every rank is here.
void compute_until_all_are_done(comm::Communicator& communicator, const std::function<void()>& compute) {
  float token = 1;
  comm::Work everyone = communicator.all_reduce_sum({&token, 1, comm::DataType::float32});
  while (compute && !everyone.done()) compute();
  everyone.wait();
}

/// The largest batch of the curve that still ends soon.
std::int64_t load_batch(const std::vector<plan::CurvePoint>& curve) {
  std::int64_t batch = 1;
  for (const plan::CurvePoint& point : curve) batch = point.seconds <= kLoadSeconds ? point.batch : batch;
  return batch;
}

std::vector<double> mean_since(const std::vector<double>& before, const std::vector<double>& now, int count) {
  std::vector<double> means;
  for (std::size_t block = 0; block < now.size(); ++block) means.push_back((now[block] - before[block]) / count);
  return means;
}

void keep_quickest(std::map<std::int64_t, plan::BlockTimes>& known, plan::BlockTimes times) {
  plan::BlockTimes& best = known[times.batch];
  if (best.batch == 0 || seconds_of(times) < seconds_of(best)) best = std::move(times);
}

}  // namespace

ComputeTime compute_time(const std::vector<double>& one_sample, int rank, std::int64_t total, double given_seconds) {
  double samples_per_second = 0, slowest = 0;
  for (const double seconds : one_sample) {
    samples_per_second += seconds > 0 ? 1 / seconds : 0;
    slowest = std::max(slowest, seconds);
  }
  ComputeTime time{.seconds = given_seconds, .likely = 0, .slowest = slowest};
  const double mine = one_sample[static_cast<std::size_t>(rank)];
  if (total > 0 && samples_per_second > 0) {
    const double together = static_cast<double>(total) / samples_per_second;
    if (mine > 0) time.likely = std::max<std::int64_t>(1, std::llround(together / mine));
    time.slowest = std::max(together, slowest);
  }
  if (given_seconds > 0) return time;
  time.seconds = std::clamp((total > 0 ? kLikelyBatches : kSingleSamples) * time.slowest, kMinSeconds, kMaxSeconds);
  return time;
}

ComputeMeasurement::ComputeMeasurement(comm::Communicator& communicator, const model::Model& model,
                                       const RankSetup& setup, MemoryBudget& budget, std::int64_t max_batch,
                                       bool in_parts)
    : communicator_(communicator),
      model_(model),
      setup_(setup),
      budget_(budget),
      max_batch_(max_batch),
      in_parts_(in_parts),
      emulator_(setup.speed) {
  budget_.set_limit(setup.memory_bytes);
}

void ComputeMeasurement::make_dry_run() {
  dry_run_.reset();
  dry_run_ = std::make_unique<DryRun>(model_, setup_, communicator_.rank(), communicator_.size(), &emulator_);
}

/// With those that a run loads ahead, so that what is timed is also what fits.
void ComputeMeasurement::make_batch(std::int64_t size) {
  if (!batches_.empty() && batches_.front().input.size(0) == size) return;
  batches_.clear();
  for (int i = 0; i <= MaxBatchOptions().batches_ahead; ++i)
    batches_.push_back(synthetic_batch_there(model_.input, size, kSeed, setup_));
}

double ComputeMeasurement::time(std::int64_t size, int count) {
  try {
    make_batch(size);
    const parallel::BlockSeconds blocks_before = dry_run_->block_seconds();
    const double cpu_begun = process_cpu_seconds(), seconds = dry_run_->time_micro_batches(batches_.front(), count);
    cpu_ += process_cpu_seconds() - cpu_begun;
    wall_ += seconds;
    keep_quickest(block_times_, {size, mean_since(blocks_before.forward, dry_run_->block_seconds().forward, count),
                                 mean_since(blocks_before.backward, dry_run_->block_seconds().backward, count)});
    return seconds;
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    // An estimate was too large. What the step left half done is thrown away.
    too_large_ = too_large_ == 0 ? size : std::min(too_large_, size);
    batches_.clear();
    make_dry_run();
    throw;
  }
}

/// Median seconds that this rank's share of the optimizer's work takes in a step.
double ComputeMeasurement::time_update() {
  make_batch(1);
  dry_run_->finish_step(batches_.front());
  std::vector<double> seconds;
  const double begun = now_seconds();
  for (int i = 0; i < kUpdates; ++i) {
    const double before = dry_run_->update_seconds();
    dry_run_->finish_step(batches_.front());
    seconds.push_back(dry_run_->update_seconds() - before);
    if (i >= 2 && now_seconds() - begun > kUpdatesSeconds) break;
  }
  return median(std::move(seconds));
}

ComputeTime ComputeMeasurement::prepare(std::int64_t total, double given_seconds) {
  communicator_.barrier();
  double one_sample = 0;
  if (max_batch_ > 0) {
    make_dry_run();
    update_seconds_ = time_update();
    one_sample = time(1, 1);
    if (one_sample < kLongRepeat) one_sample = std::min(one_sample, time(1, 1));
  } else if (in_parts_) {
    parts_ = std::make_unique<PartsMeasurement>(model_, setup_, communicator_.rank(), communicator_.size(), budget_,
                                                &emulator_);
    one_sample = parts_->prepare();
    update_seconds_ = parts_->update_seconds();
    if (one_sample == 0) parts_.reset();
  }
  return compute_time(comm::all_gather_values(communicator_, one_sample), communicator_.rank(), total, given_seconds);
}

/// The first point of the curve once more, over what it was.
double ComputeMeasurement::repeat(const plan::CurvePoint& first) {
  const int count = static_cast<int>(std::clamp(std::ceil(kRepeatSeconds / first.seconds), 1.0, 200.0));
  time(first.batch, 1);  // of another size before
  std::vector<double> seconds;
  for (int i = 0; i < kRepeats; ++i) {
    seconds.push_back(time(first.batch, count) / count);
    if (seconds.back() > kLongRepeat) break;
  }
  return median(std::move(seconds)) / first.seconds;
}

/// Of the curve's points, each scaled so that its blocks add up to the point.
std::vector<plan::BlockTimes> ComputeMeasurement::block_times(const std::vector<plan::CurvePoint>& curve) const {
  std::vector<plan::BlockTimes> times;
  for (const plan::CurvePoint& point : curve) {
    const auto found = block_times_.find(point.batch);
    if (found == block_times_.end()) continue;
    plan::BlockTimes scaled = found->second;
    const double sum = seconds_of(scaled);
    if (sum <= 0) continue;  // shorter than the clock tells
    const double factor = point.seconds / sum;
    for (double& seconds : scaled.forward) seconds *= factor;
    for (double& seconds : scaled.backward) seconds *= factor;
    times.push_back(std::move(scaled));
  }
  return times;
}

ComputeProfile ComputeMeasurement::run_parts(const ComputeTime& allowed, std::int64_t total) {
  const std::int64_t largest = total > 0 ? total : kLargestOfParts;
  PartsProfile parts = parts_->run(allowed.seconds, largest);
  ComputeProfile result;
  for (const plan::BlockTimes& times : parts.block_times) result.curve.push_back({times.batch, seconds_of(times)});
  result.block_times = std::move(parts.block_times);
  result.blocks = std::move(parts.blocks);
  result.cores = parts.cores;
  result.update_seconds = update_seconds_;
  compute_until_all_are_done(communicator_, [&] { parts_->work(); });
  return result;
}

ComputeProfile ComputeMeasurement::run(const ComputeTime& allowed, std::int64_t total, bool show_progress) {
  ComputeProfile result;
  communicator_.barrier();
  if (parts_) return run_parts(allowed, total);
  if (max_batch_ == 0) {
    compute_until_all_are_done(communicator_, nullptr);
    return result;
  }
  Progress progress("measuring compute", static_cast<std::int64_t>(10 * allowed.seconds), show_progress, 10, " s");
  wall_ = cpu_ = 0;
  block_times_.clear();
  result.blocks = dry_run_->measure_blocks(budget_);
  CurveOptions options;
  options.whole = total > 0;
  options.largest = options.whole ? std::min(max_batch_, total) : max_batch_;
  options.likely = allowed.likely;
  options.budget_seconds = allowed.seconds;
  options.warm_up = setup_.compute_device->has_own_memory();
  options.progress = [&progress](double spent) { progress.update(static_cast<std::int64_t>(10 * spent)); };
  result.curve = measure_curve([this](std::int64_t size, int count) { return time(size, count); }, options);
  result.block_times = block_times(result.curve);
  result.repeated = repeat(result.curve.front());
  result.cores = cpu_ / wall_;
  result.update_seconds = update_seconds_;
  result.too_large = too_large_;
  result.host_link = dry_run_->host_link();
  const std::int64_t load = load_batch(result.curve);
  compute_until_all_are_done(communicator_, [&] { time(load, 1); });
  dry_run_->finish_step(batches_.front());
  return result;
}

}  // namespace lshdp::measure
