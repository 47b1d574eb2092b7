// StateGate: lets a step change a part of the state only once a save has written it.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "lshdp/parallel/store.h"

namespace lshdp::train {

/// Between one thread that writes buckets and one that updates them. Nothing is copied: the state in memory is the
/// snapshot. A bucket is written once the step of the save has changed it, and later steps wait for that.
class StateGate : public parallel::StateObserver {
 public:
  /// The state is that of `step`.
  explicit StateGate(std::int64_t step) : first_step_(step) {}

  /// `buckets` are to be written as they are after `step`, in this order where several can be. No bucket has begun a
  /// later step; the updates of `step` may be under way. What was to be written before is written.
  void close(const std::vector<std::size_t>& buckets, std::int64_t step);
  /// Nothing more will be written: nobody waits any longer.
  void open();

  /// The writer: waits for a bucket that can be written; one that an update waits for comes before all others. None: no
  /// more is to be written.
  std::optional<std::size_t> next();
  void written(std::size_t bucket);

  /// The thread that updates: returns when the bucket may change.
  void before_update(std::size_t bucket, std::int64_t step) override;
  void after_update(std::size_t bucket, std::int64_t step) override;

  /// An update waits.
  bool waits() const;
  /// That updates waited, since this object was made.
  double waited_seconds() const;

 private:
  bool is_held(std::size_t bucket, std::int64_t step) const { return step > step_ && unwritten_.contains(bucket); }
  std::vector<std::size_t>::iterator next_ready();

  const std::int64_t first_step_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t step_ = 0;                      // of the save
  std::vector<std::size_t> to_write_;          // not begun
  std::set<std::size_t> unwritten_;            // these, and the one being written
  std::map<std::size_t, std::int64_t> steps_;  // of the buckets that were updated
  std::optional<std::size_t> waited_for_;
  double waited_seconds_ = 0;
};

}  // namespace lshdp::train
