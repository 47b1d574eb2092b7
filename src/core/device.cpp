// Events, and the device that is the host itself.
#include "lshdp/core/device.h"

#include <cstring>
#include <stdexcept>

#include "lshdp/core/clock.h"

namespace lshdp {

void Event::wait() const {
  if (state_) state_->wait();
}

double Event::seconds() const { return state_ ? state_->seconds() : seconds_; }

namespace {

class HostDevice final : public ComputeDevice {
 public:
  c10::Device where() const override { return c10::Device(c10::DeviceType::CPU); }
  bool has_own_memory() const override { return false; }
  std::string description() const override { return "cpu"; }
  std::unique_ptr<MemoryCounter> count_memory() override { return make_host_memory_counter(); }
  std::int64_t free_memory() const override { throw std::logic_error("the host's free memory was asked of a device"); }
  bool holds(const void*) const override { return false; }
  std::shared_ptr<void> pin(void*, std::int64_t) override { return nullptr; }
  std::shared_ptr<void> help() override { return nullptr; }
  Event record_event() override { return Event(now_seconds()); }
  Event copy_in(void* to, const void* from, std::int64_t bytes, const Event&) override {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
    return record_event();
  }
  Event copy_out(void* to, const void* from, std::int64_t bytes, const Event&, std::function<void()> then) override {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
    if (then) then();
    return record_event();
  }
  void wait_event(const Event& event) override { event.wait(); }
  void synchronize() override {}
  at::Tensor upload(const at::Tensor& host) override { return host; }
};

}  // namespace

std::shared_ptr<ComputeDevice> make_host_device() { return std::make_shared<HostDevice>(); }

}  // namespace lshdp
