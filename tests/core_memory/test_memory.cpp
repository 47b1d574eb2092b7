// The budget counts every byte of CPU tensors, refuses at the limit and leaves no trace when it is gone.
#include <atomic>
#include <cstdint>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lshdp/core/memory.h"

namespace lshdp {
namespace {

at::Tensor bytes(std::int64_t count) { return at::empty({count}, at::kByte); }

TEST(MemoryBudget, CountsWhatLivesAndItsPeak) {
  MemoryBudget budget;
  EXPECT_EQ(budget.used(), 0);
  auto a = bytes(1000);
  auto b = bytes(500);
  EXPECT_EQ(budget.used(), 1500);
  b.reset();
  EXPECT_EQ(budget.used(), 1000);
  EXPECT_EQ(budget.peak(), 1500);
  budget.reset_peak();
  EXPECT_EQ(budget.peak(), 1000);
  EXPECT_EQ(budget.limit(), std::nullopt);
}

TEST(MemoryBudget, RefusesOneByteTooMuchAndTakesWhatJustFits) {
  MemoryBudget budget(1000);
  auto a = bytes(600);
  auto b = bytes(400);
  EXPECT_EQ(budget.used(), 1000);
  EXPECT_EQ(budget.needed(), 0);
  b.reset();
  EXPECT_THROW(bytes(401), c10::OutOfMemoryError);
  EXPECT_EQ(budget.used(), 600);
  EXPECT_EQ(budget.peak(), 1000);
  EXPECT_EQ(budget.needed(), 1001);
  budget.set_limit(1001);
  EXPECT_EQ(budget.limit(), 1001);
  EXPECT_NO_THROW(bytes(401));
}

TEST(MemoryBudget, RefusalsAreRecognised) {
  MemoryBudget budget(10);
  try {
    bytes(11);
    FAIL() << "11 bytes fit into 10";
  } catch (const std::exception& error) {
    EXPECT_TRUE(is_out_of_memory(error));
    EXPECT_NE(std::string(error.what()).find("budget"), std::string::npos);
  }
  EXPECT_TRUE(is_out_of_memory(std::bad_alloc()));
  EXPECT_FALSE(is_out_of_memory(std::runtime_error("out of memory")));
}

TEST(MemoryBudget, WhatTheHostCannotGiveIsARefusalAndIsNotCounted) {
  MemoryBudget budget;
  try {
    bytes(std::int64_t{1} << 55);
    FAIL() << "the host has 32 PiB";
  } catch (const std::exception& error) {
    EXPECT_TRUE(is_out_of_memory(error));
  }
  EXPECT_EQ(budget.used(), 0);
}

TEST(MemoryBudget, TensorsOfBeforeAreNotCountedWhenFreed) {
  auto before = bytes(100);
  MemoryBudget budget;
  before.reset();
  EXPECT_EQ(budget.used(), 0);
}

TEST(MemoryBudget, TensorsMayOutliveTheBudgetAndDoNotDisturbTheNext) {
  at::Tensor survivor;
  {
    MemoryBudget budget;
    survivor = bytes(100);
  }
  MemoryBudget next;
  auto a = bytes(7);
  survivor.reset();
  EXPECT_EQ(next.used(), 7);
}

TEST(MemoryBudget, ATensorThatGrowsAfterTheBudgetIsGoneKeepsItsValues) {
  at::Tensor survivor;
  {
    MemoryBudget budget(200);
    survivor = at::full({100}, 3, at::kByte);
  }
  survivor.resize_({1000});
  EXPECT_TRUE(at::equal(survivor.slice(0, 0, 100), at::full({100}, 3, at::kByte)));
}

TEST(MemoryBudget, HostMemoryIsNotCounted) {
  const MemoryBudget budget(1000);
  at::Tensor host;
  {
    const HostMemoryScope scope;
    host = at::zeros({10'000}, at::kFloat);
  }
  EXPECT_LT(budget.used(), 1000);
  const std::int64_t used = budget.used();
  host.reset();
  EXPECT_EQ(budget.used(), used);
  EXPECT_THROW(at::zeros({10'000}, at::kFloat), c10::OutOfMemoryError);
}

/// Bytes of this process that are in memory.
std::int64_t resident_bytes() {
  std::int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

TEST(MemoryBudget, WhatIsFreedIsNeverKeptBeyondTheLimit) {
  constexpr std::int64_t kMiB = 1 << 20;
  MemoryBudget budget(64 * kMiB);
  const std::int64_t before = resident_bytes();
  // Sizes that grow: what is freed never serves the next piece.
  for (std::int64_t size = 8; size <= 60; size += 4) {
    const at::Tensor piece = at::ones({size * kMiB}, at::kByte);
    EXPECT_LE(resident_bytes() - before, 66 * kMiB) << size;
  }
  std::vector<at::Tensor> mixed;
  for (int i = 0; i < 200; ++i) {
    if (mixed.size() > 6) mixed.erase(mixed.begin() + i % 5);
    mixed.push_back(at::ones({(1 + i * 7 % 8) * kMiB}, at::kByte));
    EXPECT_LE(resident_bytes() - before, 66 * kMiB) << i;
  }
}

TEST(MemoryBudget, WhatTheKernelDoesNotGiveIsARefusalThatNamesTheNeed) {
  const MemoryBudget budget;
  EXPECT_THROW(bytes(std::int64_t{1} << 60), c10::OutOfMemoryError);
  EXPECT_GE(budget.needed(), std::int64_t{1} << 60);
  EXPECT_EQ(budget.used(), 0);
}

TEST(MemoryBudget, RestoresTheAllocator) {
  auto* const before = c10::GetCPUAllocator();
  {
    MemoryBudget budget;
    EXPECT_NE(c10::GetCPUAllocator(), before);
  }
  EXPECT_EQ(c10::GetCPUAllocator(), before);
}

TEST(MemoryBudget, TwoAtATimeAreRefused) {
  MemoryBudget budget;
  EXPECT_THROW(MemoryBudget(), std::logic_error);
}

TEST(MemoryBudget, KeepsLibTorchsAlignment) {
  MemoryBudget budget;
  for (const std::int64_t size : {1, 63, 64, 65, 5000}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes(size).data_ptr()) % 64, 0U) << size;
  }
}

TEST(MemoryBudget, CountsAnOperationsTemporariesAndEmptyTensors) {
  MemoryBudget budget;
  auto empty = bytes(0);
  EXPECT_EQ(budget.used(), 0);
  auto a = at::ones({1000}, at::kFloat);
  auto b = (a + 1) * 2;
  EXPECT_EQ(budget.used(), 8000);
  EXPECT_GE(budget.peak(), 12000);  // a, a + 1 and b
  EXPECT_LT(budget.peak(), 12100);  // and the numbers 1 and 2 as tensors
}

TEST(MemoryBudget, ThreadsNeverGoOverTheLimitTogether) {
  constexpr std::int64_t kLimit = 10 * 1000;
  MemoryBudget budget(kLimit);
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        std::vector<at::Tensor> kept;
        for (int k = 0; k < 4; ++k) {
          try {
            kept.push_back(bytes(1000));
          } catch (const c10::OutOfMemoryError&) {
            ++refused;
          }
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(budget.peak(), kLimit);
  EXPECT_EQ(budget.used(), 0);
  if (refused > 0) {
    EXPECT_GT(budget.needed(), kLimit);
  }
}

}  // namespace
}  // namespace lshdp
