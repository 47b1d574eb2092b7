// RunCheckpoints: when a run saves its state, and the saves that are under way behind its steps.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint_writer.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "lshdp/parallel/store.h"

namespace lshdp::train {

struct RunCheckpointOptions {
  CheckpointFolder folder;       // no run: nothing is written, but saves are due all the same
  std::int64_t every_steps = 0;  // 0: not by steps
  double every_seconds = 0;      // 0: not by time
  bool settles = false;          // the state must be at rest before a save begins: CheckpointWriter::begin()
  std::shared_ptr<ComputeDevice> device = nullptr;  // null: the host
};

/// One save at a time; the next one waits for it. All ranks make the same calls in the same order, but for ask() and
/// progress().
class RunCheckpoints {
 public:
  /// `report_pending`: reads the figures of all steps that are done, with which advance() is called, and synchronizes
  /// the store. `say`: to people.
  RunCheckpoints(comm::Communicator& communicator, const RunCheckpointOptions& options,
                 std::function<void()> report_pending, std::function<void(const std::string&)> say);

  /// From here on saves are of this state, which is that of `step`; `store` is whose it is. Both must outlive it, or
  /// leave_store() comes before.
  void follow(parallel::ParameterStore& store, parallel::StateAccess& state, std::int64_t step);
  /// The store goes: what is under way is finished.
  void leave_store();

  /// From here on time counts.
  void begin();
  /// Rank 0's clock says that a save is due; all ranks hear of it with the figures of the step. Asked for once.
  bool ask();
  void note_due() { due_ = true; }
  bool is_due(std::int64_t step) const;
  /// Whether the last save is of this step.
  bool has(std::int64_t step) const { return saved_step_ == step; }
  /// The run goes on from the save of this step.
  void note_saved(std::int64_t step) { saved_step_ = step; }
  /// Whether saves were asked for, by steps or by time.
  bool wanted() const { return options_.every_steps > 0 || options_.every_seconds > 0; }

  /// Begins to save `info.step`, the last that is done.
  void save(const CheckpointInfo& info);
  /// CheckpointWriter::progress().
  std::int64_t progress() const { return writer_ ? writer_->progress() : 0; }
  /// `progress`: the least of all ranks. Throws AgreedError where a rank could not write, when nothing is under way.
  void advance(std::int64_t progress);
  /// Waits for what is under way. The figures of its step are written before it is complete: a run that goes on from it
  /// has them.
  void finish();
  /// The same on the way out of a failed run, of a save of a step before `step`; the store is synchronized.
  void finish_before(std::int64_t step);

 private:
  void note(const WrittenCheckpoint& written);

  comm::Communicator& communicator_;
  RunCheckpointOptions options_;
  std::function<void()> report_pending_;
  std::function<void(const std::string&)> say_;
  parallel::ParameterStore* store_ = nullptr;
  std::optional<CheckpointWriter> writer_;  // with a run directory
  bool due_ = false;                        // on all ranks alike
  std::int64_t saved_step_ = -1;
  double last_ = 0;  // rank 0: when the last one was begun, or asked for
  bool told_of_slow_saves_ = false;
};

}  // namespace lshdp::train
