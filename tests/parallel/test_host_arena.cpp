// Tests of host memory that tensors are cut from.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "layout/host_arena.h"
#include "lshdp/core/memory.h"

namespace lshdp::parallel {
namespace {

TEST(HostArena, GivesZerosThatNoBudgetCounts) {
  const MemoryBudget budget(1000);
  HostArena arena(HostArena::bytes_of(10'000, at::kDouble));
  const at::Tensor tensor = arena.take(10'000, at::kDouble);
  EXPECT_EQ(tensor.scalar_type(), at::kDouble);
  EXPECT_EQ(at::count_nonzero(tensor).item<std::int64_t>(), 0);
  EXPECT_LT(budget.peak(), 1000);
}

TEST(HostArena, CutsAlignedPiecesThatDoNotOverlap) {
  HostArena arena(HostArena::bytes_of(3, at::kFloat) + HostArena::bytes_of(5, at::kDouble));
  const at::Tensor first = arena.take(3, at::kFloat), second = arena.take(5, at::kDouble);
  first.fill_(1);
  second.fill_(2);
  EXPECT_EQ(first.sum().item<double>(), 3);
  EXPECT_EQ(second.sum().item<double>(), 10);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second.data_ptr()) % HostArena::kHostAlignment, 0U);
  EXPECT_THROW(arena.take(1, at::kFloat), std::logic_error);
}

TEST(HostArena, LivesAsLongAsItsTensors) {
  at::Tensor tensor;
  {
    HostArena arena(HostArena::bytes_of(100, at::kFloat));
    tensor = arena.take(100, at::kFloat);
  }
  tensor.fill_(3);
  EXPECT_EQ(tensor.sum().item<double>(), 300);
}

TEST(HostArena, MayBeEmpty) { EXPECT_EQ(HostArena(0).take(0, at::kFloat).numel(), 0); }

}  // namespace
}  // namespace lshdp::parallel
