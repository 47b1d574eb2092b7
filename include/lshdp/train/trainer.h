// Training: the loop over steps, from a plan to a run directory.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/data/dataset.h"
#include "lshdp/data/loader.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/store.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"
#include "lshdp/plan/rebalance.h"
#include "lshdp/train/run_file.h"
#include "lshdp/train/schedule.h"

namespace lshdp::train {

struct TrainOptions {
  measure::RankSetup setup;  // this rank's
  std::filesystem::path data;
  std::filesystem::path eval_data;      // empty: no evaluation
  plan::Plan plan;                      // of as many ranks as there are
  std::optional<plan::Layout> layout;   // where blocks lie on some ranks only, `plan` being its plan_of(); none: on all
  std::vector<std::int64_t> max_batch;  // by rank, for the report; empty: not probed

  std::int64_t rebalance_every = 0;      // steps between decisions whether to split, or cut, anew; 0: nothing changes
  std::optional<plan::Profile> profile;  // what the ranks can do, for rebalancing; none: cuts stay, and for splits it
                                         // is learnt from the first steps
  plan::RebalanceOptions rebalance;

  std::optional<std::int64_t> steps;   // this many in all, a resumed run's earlier ones included
  std::optional<std::int64_t> epochs;  // or this many passes over the data; exactly one of the two
  Schedule schedule;                   // total_steps is filled in
  parallel::AdamW adamw;
  double layer_decay = 1;              // that the model's rates were made with, see model::with_layer_decay()
  double clip_norm = 0;                // 0: not clipped
  parallel::LossScaling loss_scaling;  // fp16; a resumed run goes on with the scale that it had
  double ema = 0;                      // decay of the moving average of weights that is kept beside them; 0: none
  double label_smoothing = 0;
  std::uint64_t seed = 0;
  data::Augmentation augmentation;
  data::Windows windows = data::Windows::fixed;  // of tokens to train on; evaluation has fixed ones

  std::filesystem::path init;                // weights to begin with, of any form; empty: fresh weights from `seed`
  bool new_head = false;                     // the classification head is fresh all the same
  std::filesystem::path adapter;             // of a model with adapters: theirs; empty: fresh ones from `seed`
  std::string base_identity;                 // where not all is trained: of the weights `init`, filled in by launch()
  std::filesystem::path save;                // safetensors to write at the end beside those in `results`; empty: none
  std::filesystem::path results;             // run directory; empty: none
  std::string results_option = "--results";  // that named it, for messages
  std::filesystem::path resume;              // checkpoint, or run directory whose newest is taken; empty: begin anew
  std::int64_t checkpoint_every = 0;         // steps; 0: only when interrupted
  double checkpoint_seconds = 0;             // or wall time between them; 0: not by time
  int keep_checkpoints = 2;
  std::int64_t eval_every = 0;                 // steps; 0: at the end only
  bool keep_best = false;                      // the weights of the evaluation with the least loss, in RESULTS/best
  bool trace = false;                          // trace.json in the run directory
  bool tensorboard = false;                    // event files in the run directory
  bool verbose_forward = false;                // print what each block reads and gives in the first step
  bool overwrite = false;                      // removes what an earlier run left in `results`
  bool resume_with_changes = false;            // a resumed run may have other data and settings
  Invocation invocation = {};                  // for run.json
  std::optional<plan::Profile> measured = {};  // for this run, as RESULTS/profile.json is to hold it; none: stays
  nlohmann::json measured_with = {};  // set-up that RUN/profile.json was measured with, for run.json; null: none was

  MemoryBudget* memory = nullptr;  // that counts this rank's tensors, for the summary; null: it tells nothing of them

  /// For tests: what this rank says that `samples` of `step` (counted from 1) took it with the `blocks` that it holds,
  /// in place of what was measured.
  std::function<double(std::int64_t step, std::int64_t samples, std::int64_t blocks)> pretended_compute_seconds;
  /// For tests, the same on all ranks: how the pipeline is cut when so many steps are done, in place of a decision.
  std::function<std::optional<plan::Layout>(std::int64_t done)> next_layout;
};

/// For a run that is resumed, before anything is measured for it: compares what is known by now with the newest
/// checkpoint, so that a resume that does not fit is refused at once. train() compares the rest. Throws AgreedError.
/// All ranks must call it.
void require_resumable(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options);

/// Exit code of a run that a signal ended in order: it can be continued (EX_TEMPFAIL of sysexits.h).
inline constexpr int kInterruptedExitCode = 75;

/// Trains and returns what summary.json says (on every rank). Rank 0 logs a line per step. The first SIGINT or SIGTERM
/// of any rank ends the run after the step with a checkpoint, summary and trace (if there is a run directory) and an
/// AgreedError of kInterruptedExitCode. All ranks must call it with the same options. Throws AgreedError where all
/// ranks can know (bad data, a resume that does not fit, a loss that is not finite: with step and rank, or gradients
/// that overflow in fp16 without any scale), RunError on the rank that failed otherwise (out of memory: with what would
/// help).
nlohmann::json train(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options);

}  // namespace lshdp::train
