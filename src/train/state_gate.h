// StateGate: lets a step change a part of the state only once a save has written it.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

namespace lshdp::train {

/// Between one thread that writes buckets and one that updates them. Nothing is copied: the state in memory is the
/// snapshot, and a bucket that the next step wants before it is written goes first.
class StateGate {
 public:
  /// `buckets` are to be written, in this order. The gate must be open.
  void close(const std::vector<std::size_t>& buckets);
  /// Nothing more will be written: nobody waits any longer.
  void open();

  /// The writer: what to write next, the one that is waited for before all others. None: no more is to be written.
  std::optional<std::size_t> next();
  void written(std::size_t bucket);

  /// Returns when the bucket may change.
  void wait(std::size_t bucket);
  /// Somebody does.
  bool waits() const;
  /// That wait() took, since this object was made.
  double waited_seconds() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::size_t> to_write_;  // not begun
  std::set<std::size_t> unwritten_;   // these, and the one being written
  std::optional<std::size_t> waited_for_;
  double waited_seconds_ = 0;
};

}  // namespace lshdp::train
