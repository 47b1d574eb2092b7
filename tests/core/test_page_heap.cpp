// Pages are used again, join, and go back to the kernel where more are kept than is allowed.
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "page_heap.h"

namespace lshdp {
namespace {

constexpr std::size_t kPage = 1 << 16;  // a whole number of pages everywhere
constexpr std::int64_t kAll = std::int64_t{1} << 60;

TEST(PageHeap, UsesFreedPagesAgainAndJoinsNeighbours) {
  PageHeap heap;
  void* whole = heap.allocate(8 * kPage, kAll);
  heap.deallocate(whole, 8 * kPage, true);
  void* first = heap.allocate(3 * kPage, kAll);
  void* second = heap.allocate(5 * kPage, kAll);
  EXPECT_EQ(first, whole);
  EXPECT_EQ(second, static_cast<char*>(whole) + 3 * kPage);
  EXPECT_EQ(heap.free_bytes(), 0);
  heap.deallocate(first, 3 * kPage, true);
  heap.deallocate(second, 5 * kPage, true);
  EXPECT_EQ(heap.allocate(8 * kPage, kAll), whole) << "what was cut is whole again";
}

TEST(PageHeap, KeepsNoMoreThanIsAllowed) {
  PageHeap heap;
  void* large = heap.allocate(16 * kPage, kAll);
  heap.deallocate(large, 16 * kPage, true);
  EXPECT_EQ(heap.free_bytes(), 16 * kPage);
  void* small = heap.allocate(kPage, 4 * kPage);
  EXPECT_EQ(heap.free_bytes(), 4 * kPage);
  void* larger = heap.allocate(32 * kPage, 0);
  EXPECT_EQ(heap.free_bytes(), 0);
  heap.deallocate(small, kPage, false);
  heap.deallocate(larger, 32 * kPage, false);
  EXPECT_EQ(heap.free_bytes(), 0);
}

TEST(PageHeap, PiecesNeverOverlapAndKeepWhatIsWrittenIntoThem) {
  PageHeap heap;
  std::mt19937_64 random(5);
  struct Piece {
    unsigned char* begin;
    std::size_t bytes;
    unsigned char value;
  };
  std::vector<Piece> pieces;
  const auto check = [](const Piece& piece) {
    for (std::size_t i = 0; i < piece.bytes; i += 4096) ASSERT_EQ(piece.begin[i], piece.value);
    ASSERT_EQ(piece.begin[piece.bytes - 1], piece.value);
  };
  for (int i = 0; i < 3000; ++i) {
    if (pieces.size() < 20 && random() % 2 == 0) {
      const std::size_t bytes = 1 + random() % (6 * kPage);
      auto* begin =
          static_cast<unsigned char*>(heap.allocate(bytes, static_cast<std::int64_t>(random() % (40 * kPage))));
      ASSERT_NE(begin, nullptr);
      const auto value = static_cast<unsigned char>(random());
      std::memset(begin, value, bytes);
      pieces.push_back({begin, bytes, value});
    } else if (!pieces.empty()) {
      std::swap(pieces[random() % pieces.size()], pieces.back());
      check(pieces.back());
      heap.deallocate(pieces.back().begin, pieces.back().bytes, random() % 4 != 0);
      pieces.pop_back();
    }
  }
  for (const Piece& piece : pieces) check(piece);
}

TEST(PageHeap, GivesNothingWhereTheKernelHasNoMore) {
  PageHeap heap;
  EXPECT_EQ(heap.allocate(std::size_t{1} << 60, kAll), nullptr);
}

}  // namespace
}  // namespace lshdp
