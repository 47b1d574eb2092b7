// The part of an operation that its callers and the engine share: has it started, is it done, did it fail.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "meter.h"
#include "wakeup.h"

namespace lshdp::comm {

class EngineWork : public Work::State {
 public:
  EngineWork(bool deferred, std::shared_ptr<Wakeup> bell, std::shared_ptr<Meter> meter);

  void start() override;
  void wait() override;
  bool done() const override;
  void when_done(std::function<void()> call) override;
  double began() const override;
  double finished() const override;

  /// The engine's side. Enqueued: unless deferred, it begins.
  void enqueued();
  bool started() const { return started_; }
  /// A thread stands in wait().
  bool awaited() const { return awaited_; }
  /// Wakes those who wait; with a text, the operation failed.
  void finish(const std::string& error = {});

 private:
  void begin(double now);

  const bool deferred_;
  const std::shared_ptr<Wakeup> wakeup_;
  const std::shared_ptr<Meter> meter_;
  std::atomic<bool> started_ = false, awaited_ = false;
  mutable std::mutex mutex_;
  std::condition_variable done_changed_;
  bool done_ = false;
  double began_ = 0, finished_ = 0;
  std::string error_;
  std::vector<std::function<void()>> calls_;  // for when it is done
};

}  // namespace lshdp::comm
