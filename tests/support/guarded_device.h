// GuardedDevice: a device whose memory the host cannot read or write, as that of a GPU: who tries is ended by the
// kernel.
#pragma once
#include <memory>
#include <string>

#include "support/detached_device.h"

namespace lshdp::test {

/// Tensors live at PrivateUse1; addresses of their memory are good for nothing but the device's own copies. What is
/// computed on them is computed on the host, from copies. As late as DetachedDevice.
class GuardedDevice final : public DetachedDevice {
 public:
  GuardedDevice();
  c10::Device where() const override { return {c10::DeviceType::PrivateUse1, 0}; }
  std::string description() const override { return "a test's, guarded"; }
  bool holds(const void* memory) const override;
  Event copy_in(void* to, const void* from, std::int64_t bytes, const Event& after) override;
  Event copy_out(void* to, const void* from, std::int64_t bytes, const Event& after,
                 std::function<void()> then) override;
  at::Tensor upload(const at::Tensor& host) override { return host.to(where()); }
};

}  // namespace lshdp::test
