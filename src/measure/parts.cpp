// Parts by halving what does not fit; each one's blocks timed at the same sizes.
#include "parts.h"

#include <algorithm>
#include <utility>

#include "lshdp/core/clock.h"
#include "lshdp/parallel/placement.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;
constexpr int kRepeats = 3;            // of a timing, of which the quickest counts
constexpr double kLongEnough = 0.5;    // seconds, after which a timing is not repeated
constexpr double kTimingsOfPoint = 3;  // a first one, which warms caches, and two

std::size_t blocks_of(const std::vector<parallel::BlockRange>& ranges) {
  std::size_t blocks = 0;
  for (const parallel::BlockRange& range : ranges) blocks += range.end - range.begin;
  return blocks;
}

void add(const plan::BlockTimes& part, plan::BlockTimes& sum) {
  sum.batch = part.batch;
  sum.forward.resize(part.forward.size());
  sum.backward.resize(part.backward.size());
  for (std::size_t block = 0; block < part.forward.size(); ++block) {
    sum.forward[block] += part.forward[block];
    sum.backward[block] += part.backward[block];
  }
}

}  // namespace

PartsMeasurement::PartsMeasurement(const model::Model& model, const RankSetup& setup, int rank, int ranks,
                                   MemoryBudget& budget, SpeedEmulator* emulator)
    : model_(model), setup_(setup), rank_(rank), ranks_(ranks), budget_(budget), emulator_(emulator) {}

void PartsMeasurement::hold(const Ranges& ranges) {
  held_.reset();
  held_ = std::make_unique<DryRun>(model_, setup_, rank_, ranks_, emulator_, ranges);
}

/// Two micro-batches of one sample and an update, whose times are kept.
void PartsMeasurement::try_out(const Ranges& ranges) {
  hold(ranges);
  const model::SyntheticBatch one = synthetic_batch_there(model_.input, 1, kSeed, setup_);
  held_->finish_step(one);
  const double updated = held_->update_seconds();
  held_->finish_step(one);
  std::int64_t parameters = 0;
  for (const parallel::BlockRange& range : ranges) {
    for (std::size_t block = range.begin; block < range.end; ++block) parameters += model_.trained_count(block);
  }
  const double share = static_cast<double>(model_.trained_count()) / ranks_;
  if (parameters > 0) update_seconds_ = (held_->update_seconds() - updated) * share / static_cast<double>(parameters);
}

bool PartsMeasurement::fits(const Ranges& ranges) {
  try {
    try_out(ranges);
    return true;
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    held_.reset();
    return false;
  }
}

bool PartsMeasurement::find_between(std::size_t start, std::size_t end) {
  std::size_t most = end - start;
  while (start < end) {
    std::size_t length = std::min(most, end - start);
    bool halved = most < end - start;
    while (!fits({{start, start + length}})) {
      if (length == 1) return false;
      length = (length + 1) / 2;
      halved = true;
    }
    if (halved && length > 1) length = (length + 1) / 2;  // room for more samples
    parts_.push_back({{start, start + length}});
    start += length;
    most = 2 * length;
  }
  return true;
}

bool PartsMeasurement::find() {
  parts_.clear();
  std::size_t head = 0, tail = model_.blocks.size();
  for (const auto& [owner, user] : parallel::layout_needs(model_).shared_parameters) {
    head = std::max(head, owner + 1);
    tail = std::min(tail, user);
  }
  if (head >= tail) return false;
  if (head == 0) return find_between(head, tail);
  Ranges ends{{0, head}, {tail, model_.blocks.size()}};
  if (!fits(ends)) return false;
  parts_.push_back(std::move(ends));
  return find_between(head, tail);
}

/// The quickest of some timings, by blocks.
plan::BlockTimes PartsMeasurement::timed(const model::SyntheticBatch& batch) {
  plan::BlockTimes best;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const parallel::BlockSeconds before = held_->block_seconds();
    const double begun = now_seconds(), cpu = process_cpu_seconds();
    held_->time_micro_batches(batch, 1);
    cpu_ += process_cpu_seconds() - cpu;
    wall_ += now_seconds() - begun;
    plan::BlockTimes times{.batch = batch.input.size(0), .forward = {}, .backward = {}};
    for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
      times.forward.push_back(held_->block_seconds().forward[block] - before.forward[block]);
      times.backward.push_back(held_->block_seconds().backward[block] - before.backward[block]);
    }
    if (best.batch == 0 || seconds_of(times) < seconds_of(best)) best = std::move(times);
    if (seconds_of(best) > kLongEnough) break;
  }
  return best;
}

double PartsMeasurement::prepare() {
  if (!find()) {
    held_.reset();
    return 0;
  }
  one_sample_ = 0;
  const model::SyntheticBatch one = synthetic_batch_there(model_.input, 1, kSeed, setup_);
  for (const Ranges& part : parts_) {
    hold(part);
    held_->finish_step(one);
    one_sample_ += seconds_of(timed(one));
  }
  return one_sample_;
}

/// Adds the part's seconds to `times`. Returns the largest size that it was timed at.
std::int64_t PartsMeasurement::time_part(const Ranges& ranges, double seconds, std::int64_t largest,
                                         std::map<std::int64_t, plan::BlockTimes>& times) {
  const double end = now_seconds() + seconds;
  std::int64_t done = 0;
  for (std::int64_t size = 1; size <= largest; size = std::min(2 * size, largest)) {
    try {
      const model::SyntheticBatch batch = synthetic_batch_there(model_.input, size, kSeed, setup_);
      if (size == 1) held_->finish_step(batch);
      const plan::BlockTimes part = timed(batch);
      add(part, times[size]);
      done = size;
      if (size == largest || now_seconds() + 2 * kTimingsOfPoint * seconds_of(part) > end) break;
    } catch (const std::exception& error) {
      if (size == 1 || !is_out_of_memory(error)) throw;
      hold(ranges);  // what the step left half done is thrown away
      break;
    }
  }
  return done;
}

PartsProfile PartsMeasurement::run(double seconds, std::int64_t largest) {
  PartsProfile result;
  result.blocks.resize(model_.blocks.size());
  std::map<std::int64_t, plan::BlockTimes> times;
  wall_ = cpu_ = 0;
  for (const Ranges& part : parts_) {
    hold(part);
    const std::vector<plan::BlockProfile> measured = held_->measure_blocks(budget_);
    auto next = measured.begin();
    for (const parallel::BlockRange& range : part) {
      for (std::size_t block = range.begin; block < range.end; ++block) result.blocks[block] = *next++;
    }
    const double share = static_cast<double>(blocks_of(part)) / static_cast<double>(model_.blocks.size());
    largest = time_part(part, share * seconds, largest, times);
    times.erase(times.upper_bound(largest), times.end());
  }
  for (auto& [size, of_size] : times) result.block_times.push_back(std::move(of_size));
  result.cores = wall_ > 0 ? cpu_ / wall_ : 1;
  return result;
}

void PartsMeasurement::work() {
  const model::SyntheticBatch one = synthetic_batch_there(model_.input, 1, kSeed, setup_);
  held_->time_micro_batches(one, 1);
}

}  // namespace lshdp::measure
