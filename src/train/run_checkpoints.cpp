// Saves that begin when they are due and go on with the figures of the steps that follow.
#include "run_checkpoints.h"

#include <utility>

#include <fmt/format.h>

#include "lshdp/core/activity.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"

namespace lshdp::train {
namespace {

constexpr double kTellWaitSeconds = 0.1;
constexpr double kSlowSaveSeconds = 1;

}  // namespace

RunCheckpoints::RunCheckpoints(comm::Communicator& communicator, const RunCheckpointOptions& options,
                               std::function<void()> report_pending, std::function<void(const std::string&)> say)
    : communicator_(communicator),
      options_(options),
      report_pending_(std::move(report_pending)),
      say_(std::move(say)) {}

void RunCheckpoints::follow(parallel::ParameterStore& store, parallel::StateAccess& state, std::int64_t step) {
  store_ = &store;
  if (!options_.folder.run.empty()) writer_.emplace(communicator_, state, options_.folder, step, options_.device);
}

void RunCheckpoints::leave_store() {
  finish();
  writer_.reset();
  store_ = nullptr;
}

void RunCheckpoints::begin() { last_ = now_seconds(); }

bool RunCheckpoints::ask() {
  const bool root = communicator_.rank() == 0;
  if (!root || options_.every_seconds <= 0 || now_seconds() - last_ < options_.every_seconds) return false;
  last_ = now_seconds();
  return true;
}

bool RunCheckpoints::is_due(std::int64_t step) const {
  return due_ || (options_.every_steps > 0 && step % options_.every_steps == 0);
}

void RunCheckpoints::save(const CheckpointInfo& info) {
  note_activity(Doing::saving, info.step);
  if (options_.settles) report_pending_();
  due_ = false;
  last_ = now_seconds();
  saved_step_ = info.step;
  if (!writer_) return;
  const double begun = now_seconds();
  finish();
  const double waited = now_seconds() - begun;
  if (communicator_.rank() == 0 && waited > kSlowSaveSeconds && !told_of_slow_saves_) {
    told_of_slow_saves_ = true;
    spdlog::warn("--checkpoint-every: at step {} training waited {} for the checkpoint before; fewer cost less",
                 info.step, format_seconds(waited));
  }
  writer_->begin(info);
}

void RunCheckpoints::advance(std::int64_t progress) {
  if (!writer_) return;
  try {
    if (const auto written = writer_->advance(progress)) note(*written);
  } catch (const AgreedError&) {
    store_->synchronize();  // all ranks come here: what they have under way can end
    throw;
  }
}

void RunCheckpoints::finish() {
  if (!writer_ || !writer_->under_way()) return;
  report_pending_();
  if (writer_->under_way()) note(writer_->finish());
}

void RunCheckpoints::finish_before(std::int64_t step) {
  if (writer_ && writer_->under_way() && writer_->step() < step) note(writer_->finish());
}

void RunCheckpoints::note(const WrittenCheckpoint& written) {
  say_(fmt::format("checkpoint of step {} written in {}{}", written.step, format_seconds(written.seconds),
                   written.waited_seconds < kTellWaitSeconds
                       ? ""
                       : fmt::format("; this rank waited {} for it", format_seconds(written.waited_seconds))));
}

}  // namespace lshdp::train
