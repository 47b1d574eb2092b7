// CheckpointWriter: writes checkpoints behind the steps that follow.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "checkpoint.h"
#include "checkpoint_manifest.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "lshdp/core/work_queue.h"
#include "lshdp/parallel/store.h"

namespace lshdp::train {

class StateGate;

struct CheckpointFolder {
  std::filesystem::path run;  // one that all ranks see
  int keep = 2;               // complete checkpoints that stay, the newest ones; at least 1
};

/// A checkpoint that is complete.
struct WrittenCheckpoint {
  std::int64_t step = 0;
  double seconds = 0;         // from its step on
  double waited_seconds = 0;  // updates of this rank's state waited to be written, or finish() for the rest
};

/// One checkpoint at a time, each in three parts: begin() names the step, a thread of each rank writes its file, and
/// when all files are there rank 0 writes the manifest, which makes it complete, and removes old ones. No copy of the
/// state is made: each bucket is written once it has taken the step's update, and a later step that would change it
/// waits for that (StateGate), which takes as long as the file system takes to accept it; it is flushed to disk
/// afterwards.
///
/// All ranks make the same calls in the same order. Errors of any rank are thrown on all of them, as an AgreedError, by
/// the call that learns of them. HDF5 must be thread-safe (RunError).
class CheckpointWriter {
 public:
  /// `store` must outlive it, is synchronized and has the state of `step`; `device`, on which the state lies, may be
  /// null (the host).
  CheckpointWriter(comm::Communicator& communicator, parallel::StateAccess& store, CheckpointFolder folder,
                   std::int64_t step, const std::shared_ptr<ComputeDevice>& device = nullptr);
  /// What is under way is given up: it leaves no complete checkpoint.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Of the last step that was begun; no other checkpoint is under way. Its updates may still be under way, but for
  /// fp16 and devices of their own memory, which need a synchronized store. Waits for nobody. Checkpoints of other
  /// steps are not touched before the new one is complete. Fails where the run directory is no longer the one that was
  /// there at first: another run may have its name by now.
  void begin(const CheckpointInfo& info);
  bool under_way() const { return save_.has_value(); }
  /// Of the checkpoint under way.
  std::int64_t step() const { return save_->info.step; }
  /// How far this rank is, rising with every part that is done. No call of all ranks.
  std::int64_t progress() const { return progress_; }
  /// Goes on as far as all ranks are: `least` is the least progress() of all ranks, as all of them know it by now. Does
  /// not wait for the disk. Returns the checkpoint if it is complete.
  std::optional<WrittenCheckpoint> advance(std::int64_t least);
  /// Waits until the checkpoint under way is complete. The store is synchronized.
  WrittenCheckpoint finish();

 private:
  struct Save {
    CheckpointInfo info;
    std::filesystem::path folder;
    std::optional<parallel::LossScale> loss_scale;
    std::int64_t progress_before = 0;
    double begun = 0, waited_before = 0;
    bool files_known = false;
  };

  void require_same_folder() const;
  void write_file(const std::vector<parallel::StatePiece>& pieces, const std::filesystem::path& folder,
                  std::int64_t step);
  void share_files();
  void write_manifest(const Manifest& manifest, const std::filesystem::path& folder);
  WrittenCheckpoint complete();
  void rethrow_error();

  comm::Communicator& communicator_;
  parallel::StateAccess& store_;
  CheckpointFolder folder_;
  std::optional<std::pair<dev_t, ino_t>>
      run_folder_;                   // folder_.run as the system numbers it; none: it is not there yet
  std::shared_ptr<StateGate> gate_;  // shared with the thread that updates
  std::optional<Save> save_;
  double finish_seconds_ = 0;  // of the save under way
  // Set by the thread before progress_, read after it.
  StoredFile file_;
  std::exception_ptr error_;
  std::atomic<std::int64_t> progress_ = 0;  // two for each checkpoint: this rank's file, the manifest
  std::atomic<bool> given_up_ = false;
  WorkQueue thread_;  // the last member: it begins when all others are there
};

/// Writes a checkpoint and waits until it is complete. All ranks must call it, with a synchronized store.
void write_checkpoint(comm::Communicator& communicator, parallel::StateAccess& store, const CheckpointFolder& folder,
                      const CheckpointInfo& info);

}  // namespace lshdp::train
