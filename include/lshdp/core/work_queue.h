// WorkQueue: a thread that does one job after the other.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace lshdp {

/// Jobs run in the order in which they were given, from any thread; they must not throw.
class WorkQueue {
 public:
  /// `enter` is the first that the thread does; what it returns lives as long as the thread.
  explicit WorkQueue(std::function<std::shared_ptr<void>()> enter = {});
  /// Does what was given first.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  void post(std::function<void()> job);
  /// Returns when all jobs given so far are done. Not for the thread itself.
  void drain();

 private:
  void run(const std::function<std::shared_ptr<void>()>& enter);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::uint64_t given_ = 0, done_ = 0;
  bool stopping_ = false;
  std::thread thread_;  // the last member: it begins when all others are there
};

}  // namespace lshdp
