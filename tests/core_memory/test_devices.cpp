// Devices: the host as one, and a CUDA device where there is one.
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/cuda.h"
#include "lshdp/core/device.h"
#include "lshdp/core/error.h"
#include "support/detached_device.h"

namespace lshdp {
namespace {

/// What stores and walkers rely on, of any device.
class Devices : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string kind = GetParam();
    if (kind == "cuda" && cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device here, or none in this build";
    device_ = kind == "cuda"       ? make_cuda_device(0)
              : kind == "detached" ? std::make_shared<test::DetachedDevice>()
                                   : make_host_device();
  }
  at::Tensor there(std::int64_t count) const { return at::zeros({count}, at::TensorOptions(device_->where())); }

  static constexpr std::int64_t kCount = 1 << 20;
  std::shared_ptr<ComputeDevice> device_;
};

TEST_P(Devices, WhatIsCopiedInIsThereForTheComputationThatFollows) {
  const at::Tensor host = at::rand({kCount}), copy = there(kCount);
  const std::shared_ptr<void> pin = device_->pin(host.data_ptr(), static_cast<std::int64_t>(host.nbytes()));
  const auto bytes = static_cast<std::int64_t>(host.nbytes());
  device_->wait_event(device_->copy_in(copy.data_ptr(), host.data_ptr(), bytes, device_->record_event()));
  const at::Tensor doubled = copy * 2;
  EXPECT_TRUE(at::equal(doubled.cpu(), host * 2));
}

TEST_P(Devices, WhatIsComputedIsCopiedOutBeforeTheCallIsMade) {
  const at::Tensor host = at::zeros({kCount});
  const std::shared_ptr<void> pin = device_->pin(host.data_ptr(), static_cast<std::int64_t>(host.nbytes()));
  at::Tensor computed = there(kCount);
  for (int i = 0; i < 20; ++i) computed = computed + 1;
  std::atomic<float> seen = -1;
  const Event done = device_->copy_out(host.data_ptr(), computed.data_ptr(), static_cast<std::int64_t>(host.nbytes()),
                                       device_->record_event(), [&] { seen = host.data_ptr<float>()[kCount - 1]; });
  done.wait();
  EXPECT_EQ(seen, 20);
  EXPECT_TRUE(at::equal(host, at::full({kCount}, 20.0)));
}

TEST_P(Devices, EventsPassInOrderOnTheClockOfTheHost) {
  const double before = now_seconds();
  const Event first = device_->record_event();
  at::Tensor computed = there(kCount);
  for (int i = 0; i < 20; ++i) computed = computed + 1;
  const Event second = device_->record_event();
  second.wait();
  const double after = now_seconds();
  // Clocks of host and device are brought together once, to a fraction of a millisecond.
  EXPECT_GE(first.seconds(), before - 1e-3);
  EXPECT_GE(second.seconds(), first.seconds());
  EXPECT_LE(second.seconds(), after + 1e-3);
}

TEST_P(Devices, UploadedTensorsEqualThoseOfTheHost) {
  const at::Tensor host = at::rand({33, 7});
  const at::Tensor uploaded = device_->upload(host);
  EXPECT_EQ(uploaded.device(), device_->where());
  EXPECT_TRUE(at::equal(uploaded.cpu(), host));
}

TEST_P(Devices, HelpersComputeBesideTheThreadThatComputes) {
  at::Tensor result;
  std::thread helper([&] {
    const auto helping = device_->help();
    result = there(kCount) + 3;
    device_->record_event().wait();
  });
  helper.join();
  EXPECT_TRUE(at::equal(result.cpu(), at::full({kCount}, 3.0)));
  device_->synchronize();
}

INSTANTIATE_TEST_SUITE_P(Kinds, Devices, testing::Values("host", "detached", "cuda"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(CudaDevice, CountsLimitsAndRefusesMemory) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device here, or none in this build";
  const auto device = make_cuda_device(0);
  MemoryBudget budget(*device);
  const auto bytes_there = [&](std::int64_t bytes) {
    return at::empty({bytes}, at::TensorOptions(device->where()).dtype(at::kByte));
  };
  const std::int64_t before = budget.used();
  {
    const at::Tensor tensor = bytes_there(64 << 20);
    EXPECT_EQ(budget.used() - before, 64 << 20);
    EXPECT_TRUE(device->holds(tensor.data_ptr()));
    const int on_host = 0;
    EXPECT_FALSE(device->holds(&on_host));
  }
  EXPECT_EQ(budget.used(), before);
  EXPECT_GE(budget.peak() - before, 64 << 20);
  budget.set_limit(before + (32 << 20));
  try {
    bytes_there(256 << 20);
    FAIL() << "more than the limit was given";
  } catch (const std::exception& error) {
    EXPECT_TRUE(is_out_of_memory(error)) << error.what();
  }
  EXPECT_GE(budget.needed(), 32 << 20);
}

TEST(CudaDevice, OneThatIsNotThereIsAnErrorThatSaysSo) { EXPECT_THROW(make_cuda_device(9999), RunError); }

}  // namespace
}  // namespace lshdp
