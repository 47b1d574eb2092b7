// Rows of a table that ranks look up in each other's parts, and gradients that go back to the owners.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddp/row_exchange.h"
#include "rank_suite.h"

namespace lshdp::parallel {
namespace {

constexpr std::int64_t kRows = 37, kWidth = 5;

class Rows : public test::RankSuite<testing::Test> {
 protected:
  /// The first rank owns nothing where there are others.
  static comm::Shards owners() {
    comm::Shards rows{{0}};
    for (int r = 1; r <= ranks(); ++r)
      rows.bounds.push_back(kRows * r * (r - 1) / std::max(1, ranks() * (ranks() - 1)));
    rows.bounds.back() = kRows;
    return rows;
  }

  /// What `rank` looks up in `step`: nothing, all, or some rows.
  static at::Tensor wanted(int rank, int step) {
    const int stride = (rank + step) % 4;
    if (stride == 0) return at::empty({0}, at::kLong);
    return at::arange(rank % 2, kRows, stride, at::kLong);
  }

  static at::Tensor table(int step) {
    return at::arange(kRows * kWidth, at::kDouble).view({kRows, kWidth}) + 1000 * step;
  }
  static at::Tensor owned(const at::Tensor& table) {
    return table.narrow(0, owners().begin(rank()), owners().count(rank()));
  }
  /// Of the rows that `rank` looks up; whole numbers, so that sums are exact.
  static at::Tensor gradients(int rank, int step) {
    const at::Tensor rows = wanted(rank, step);
    return (rows * (rank + 1) + step).to(at::kDouble).unsqueeze(1).expand({rows.numel(), kWidth}).contiguous();
  }
};

TEST_F(Rows, ArriveAsTheirOwnersHaveThemAndGradientsAddUpAtTheOwners) {
  for (const at::ScalarType wire : {at::kDouble, at::kBFloat16}) {
    RowExchange exchange(*communicator_, owners(), kWidth, wire, 7, 0);
    for (int step = 0; step < 5; ++step) {
      const at::Tensor rows = wanted(rank(), step);
      exchange.look_up(rows);
      exchange.know();
      if (step != 2) {
        exchange.expect_rows(at::kDouble);
        EXPECT_TRUE(at::equal(exchange.fetch(owned(table(step))), table(step).index_select(0, rows)));
      }
      const auto arriving = exchange.expect_gradients();
      EXPECT_FALSE(arriving->there());
      exchange.send_gradients(gradients(rank(), step));
      at::Tensor expected = table(step);
      for (int r = 0; r < ranks(); ++r) {
        const at::Tensor travelled = r == rank() ? gradients(r, step) : gradients(r, step).to(wire).to(at::kDouble);
        expected.index_add_(0, wanted(r, step), travelled);
      }
      const at::Tensor sum = owned(table(step)).clone();
      arriving->add_to(sum);
      EXPECT_TRUE(arriving->there());
      EXPECT_TRUE(at::equal(sum, owned(expected)));
    }
  }
}

TEST_F(Rows, ThatTheTableDoesNotHaveAreRefused) {
  RowExchange exchange(*communicator_, owners(), kWidth, at::kDouble, 7, 0);
  EXPECT_THROW(exchange.look_up(at::tensor({0, static_cast<int>(kRows)}, at::kLong)), std::invalid_argument);
  EXPECT_THROW(exchange.look_up(at::tensor({-1}, at::kLong)), std::invalid_argument);
  EXPECT_THROW(exchange.look_up(at::tensor({4, 4}, at::kLong)), std::invalid_argument);
  EXPECT_THROW(exchange.look_up(at::tensor({4.0})), std::invalid_argument);
}

}  // namespace
}  // namespace lshdp::parallel
