// UpdateThread: takes the buckets whose gradients are complete, reduces, clips and updates them behind the computation.
#pragma once
#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "lshdp/core/trace.h"
#include "lshdp/parallel/loss_scaler.h"
#include "lshdp/parallel/store.h"

namespace lshdp::parallel {

// The first of each kind. Sums go before gathers, and both in the order in which the next forward needs them
// (docs/design.md, "Communication"): the priorities of stores that gather once a step follow one another from the first
// sum on. The fully sharded store, which waits for each bucket, has one for all gathers and one for all sums.
inline constexpr int kNormPriority = 0;
inline constexpr int kReducePriority = 1;
inline constexpr int kGatherPriority = 2;

/// What a store does with a delivered bucket. Called on the update thread only, without a lock, in this order; all but
/// finish_reduce() only where the bucket is complete. What it gives the device does not queue behind the computation.
class BucketWork {
 public:
  virtual ~BucketWork() = default;
  /// Whether the bucket's sum is there. Of the buckets delivered, the oldest of which this is true comes first; a store
  /// that cannot tell has its buckets in the order of delivery. Called with a lock: it must not call the thread.
  virtual bool reduced(std::size_t) const { return true; }
  /// Waits for the bucket's sum over ranks, begun when it was delivered.
  virtual void finish_reduce(std::size_t bucket) = 0;
  /// The step's sum is whole: this rank's shard of it may become the mean. Returns the mean's squared norm.
  virtual double mean_squared_norm(std::size_t bucket, const Update& update) = 0;
  /// Updates the shard with `scale` times its mean gradient.
  virtual void update(std::size_t bucket, const Update& update, double scale) = 0;
  /// In place of update(): the step's gradients are worth nothing.
  virtual void drop_gradients(std::size_t) {}
  /// The bucket's parameters are new here: they may travel.
  virtual void send_parameters(std::size_t bucket) = 0;
  /// The thread ends with this error.
  virtual void thread_failed(std::exception_ptr) noexcept {}
  /// stop() gives up a step: what finish_reduce() waits for beside the communicator must fail. On the thread of stop().
  virtual void abandon() noexcept {}
};

/// Buckets 0 .. n-1, each delivered complete once a step, the last one first; those with clip_norm or a loss scale wait
/// for bucket 0 and one scalar all-reduce over ranks, the squared norm: where that is not finite, a step with a loss
/// scale updates nothing on any rank. Before that, a bucket may be delivered with a part of its sum (a pass of the
/// step). `work` and `communicator` must outlive stop(). Deliveries come from one thread.
class UpdateThread {
 public:
  /// `norm_tag`: of the all-reduce that clipping and the loss scale need. `trace` may be null. `scaler`: in fp16.
  /// `absent`: buckets that this rank never delivers; if these are all, it ends each step by deliver_empty_step().
  UpdateThread(BucketWork& work, std::size_t buckets, comm::Communicator& communicator, ComputeDevice& device,
               int norm_tag, Trace* trace, std::optional<LossScaler> scaler, std::vector<std::size_t> absent = {});
  /// After the first delivery, stop() must have been called, while `work` was whole.
  ~UpdateThread();
  UpdateThread(const UpdateThread&) = delete;
  UpdateThread& operator=(const UpdateThread&) = delete;

  /// Gradients of `bucket` are on their way to be summed over ranks. `complete`: they are the step's last ones of this
  /// rank. `step` counts the store's steps from 1.
  void deliver(std::size_t bucket, std::int64_t step, const Update& update, bool complete = true);
  /// A step of a rank that has no bucket: it takes part in what all ranks decide by the norm.
  void deliver_empty_step(std::int64_t step, const Update& update);
  /// Returns when the last of these steps is done. Throws what ended the thread.
  void wait_empty_step();
  /// To be called whenever BucketWork::reduced() has become true; from any thread, also after this object is gone.
  std::function<void()> waker() const;
  /// Returns when finish_reduce() of everything delivered of the bucket is done. Throws what ended the thread.
  void wait_reduced(std::size_t bucket);
  /// Returns when the update of the bucket's last complete delivery is done and its parameters were sent. Throws what
  /// ended the thread.
  void wait_updated(std::size_t bucket);
  /// Throws what ended the thread, if anything did.
  void rethrow_error();
  /// Ends the thread. With `in_step`, or an update that is not done, the communicator is abandoned first: such a step
  /// would never end, the other ranks may be gone.
  void stop(bool in_step);

  /// As ParameterStore's of the same name.
  StepReport report_of(std::int64_t step) const {
    const Done found = done(step);
    return {found.squared_norm, found.loss_scale};
  }
  double backward_scale(const Update& update) const;
  LossScale loss_scale() const;
  void set_loss_scale(const LossScale& state);
  void observe_state(std::shared_ptr<StateObserver> observer);
  double update_seconds() const;

 private:
  struct Delivery {
    std::size_t bucket = 0;
    std::int64_t step = 0;
    Update update;
    bool complete = true;
  };
  struct Steps {
    std::int64_t delivered = 0;  // last step whose gradients are complete here
    std::int64_t updated = 0;    // last step whose shard is updated and whose parameters were sent
    std::int64_t unreduced = 0;  // deliveries whose sums are under way
  };

  struct Done {
    std::int64_t step = 0;  // Update::step
    double squared_norm = 0, loss_scale = 1;
  };

  /// In place of a bucket's number.
  static constexpr std::size_t kEmptyStep = std::numeric_limits<std::size_t>::max();

  bool is_absent(std::size_t bucket) const { return std::ranges::binary_search(absent_, bucket); }
  Done done(std::int64_t step) const;
  void loop();
  std::optional<Delivery> next_delivery();
  std::deque<Delivery>::iterator oldest_reduced();
  void handle(Delivery delivery);
  void reduce(const Delivery& delivery);
  bool note_norm(const Delivery& delivery);
  void end_step(const Delivery& delivery);
  std::shared_ptr<StateObserver> observer() const;
  void apply(std::size_t bucket, const Delivery& delivery, const Update& update, std::optional<double> scale);
  void clip_and_apply(const Delivery& delivery);
  void end_empty_step(const Delivery& delivery);

  BucketWork& work_;
  comm::Communicator& communicator_;
  ComputeDevice& device_;
  int norm_tag_;
  Trace* trace_;
  const std::vector<std::size_t> absent_;  // rising

  /// Apart, because operations that end late may still ring.
  struct Wakeup {
    std::mutex mutex;
    std::condition_variable changed;
  };
  const std::shared_ptr<Wakeup> wakeup_ = std::make_shared<Wakeup>();
  std::mutex& mutex_ = wakeup_->mutex;  // guards what follows
  std::condition_variable& changed_ = wakeup_->changed;
  std::deque<Delivery> deliveries_;  // oldest first
  std::vector<Steps> steps_;         // by bucket
  std::exception_ptr error_;
  bool stopping_ = false;
  std::vector<double> squared_norms_;  // by bucket: of the step under way
  std::size_t norms_known_ = 0;        // of them
  std::int64_t empty_steps_ = 0;       // delivered and not done
  std::array<Done, 2> done_{};         // the last two steps
  std::optional<LossScaler> scaler_;
  std::shared_ptr<StateObserver> observer_;  // null: none
  double update_seconds_ = 0;
  std::thread thread_;
};

}  // namespace lshdp::parallel
