// DetachedDevice: computes on the host, but as if its memory were apart: copies come late, on threads of their own.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <ATen/ATen.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/device.h"
#include "lshdp/core/work_queue.h"

namespace lshdp::test {

/// A direction of copies, each a little later than asked.
class LateCopies {
 public:
  void post(std::function<void()> copy) {
    thread_.post([this, copy = std::move(copy)] {
      std::this_thread::sleep_for(std::chrono::microseconds(turn_++ * 97 % 300));
      copy();
    });
  }
  void drain() { thread_.drain(); }

 private:
  unsigned turn_ = 0;  // of the thread
  WorkQueue thread_;
};

/// What a copy will fill is made useless when it is asked for: whoever reads it too early finds that.
class DetachedDevice : public ComputeDevice {
 public:
  c10::Device where() const override { return c10::Device(c10::DeviceType::CPU); }
  bool has_own_memory() const override { return true; }
  std::string description() const override { return "a test's"; }
  std::unique_ptr<MemoryCounter> count_memory() override { return make_host_memory_counter(); }
  std::int64_t free_memory() const override { return std::numeric_limits<std::int64_t>::max(); }
  bool holds(const void*) const override { return true; }  // there is no telling
  std::shared_ptr<void> pin(void*, std::int64_t) override { return nullptr; }
  std::shared_ptr<void> help() override { return nullptr; }
  Event record_event() override { return Event(now_seconds()); }
  Event copy_in(void* to, const void* from, std::int64_t bytes, const Event& after) override {
    return copy(in_, to, from, bytes, after, {});
  }
  Event copy_out(void* to, const void* from, std::int64_t bytes, const Event& after,
                 std::function<void()> then) override {
    return copy(out_, to, from, bytes, after, std::move(then));
  }
  void wait_event(const Event& event) override { event.wait(); }
  void synchronize() override {
    in_.drain();
    out_.drain();
  }
  at::Tensor upload(const at::Tensor& host) override { return host.clone(); }

 private:
  class Done final : public Event::State {
   public:
    void set() {
      {
        const std::scoped_lock lock(mutex_);
        seconds_ = now_seconds();
      }
      changed_.notify_all();
    }
    void wait() override {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return seconds_ > 0; });
    }
    double seconds() override {
      const std::scoped_lock lock(mutex_);
      return seconds_;
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    double seconds_ = 0;
  };

  static Event copy(LateCopies& worker, void* to, const void* from, std::int64_t bytes, const Event& after,
                    std::function<void()> then) {
    const auto size = static_cast<std::size_t>(bytes);
    after.wait();
    if (size > 0) std::memset(to, 0xff, size);  // as floating point numbers: none
    auto done = std::make_shared<Done>();
    worker.post([=] {
      if (size > 0) std::memcpy(to, from, size);
      if (then) then();
      done->set();
    });
    return Event(done);
  }

  LateCopies in_, out_;
};

}  // namespace lshdp::test
