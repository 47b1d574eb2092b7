// Text and errors that all ranks agree on, whoever failed and however late a rank comes.
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "comm_fixture.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {
namespace {

class Agreement : public test::OnRanks {
 protected:
  /// What agree() threw here, with the exit code in front; "" if nothing.
  std::string outcome_of(const std::function<void()>& check) {
    try {
      agree(communicator(), check);
      return "";
    } catch (const AgreedError& error) {
      return std::to_string(error.exit_code()) + " " + error.what();
    }
  }
  std::string prefix(int failing) {
    return size() == 1 ? "" : "rank " + std::to_string(failing) + " (" + all_gather_hosts(communicator())[0] + "): ";
  }
};

TEST_F(Agreement, IsSilentWhereNobodyFails) {
  EXPECT_EQ(outcome_of([] {}), "");
}

TEST_F(Agreement, NamesTheOneRankThatFailed) {
  const int failing = size() - 1;
  const auto check = [&] {
    if (rank() == failing) throw UsageError("no data");
  };
  EXPECT_EQ(outcome_of(check), "2 " + prefix(failing) + "no data");
}

TEST_F(Agreement, NamesNobodyWhereAllFailedAlike) {
  EXPECT_EQ(outcome_of([] { throw UsageError("wrong option"); }), "2 wrong option");
}

TEST_F(Agreement, TakesTheLowestOfDifferentErrors) {
  const auto check = [&] {
    if (rank() == 0) throw std::runtime_error("first");
    throw UsageError("later");
  };
  EXPECT_EQ(outcome_of(check), "1 " + prefix(0) + explain(std::runtime_error("first")));
}

TEST_F(Agreement, WaitsForALateRank) {
  const auto check = [&] {
    if (rank() != size() - 1) return;
    sleep_until(now_seconds() + 0.3);
    throw RunError("late");
  };
  EXPECT_EQ(outcome_of(check), "1 " + prefix(size() - 1) + "late");
}

TEST_F(Agreement, CarriesLongMessages) {
  const std::string text(20000, 'x');
  EXPECT_EQ(outcome_of([&] { throw RunError(text + std::to_string(rank())); }), "1 " + prefix(0) + text + "0");
}

TEST_F(Agreement, BringsTextOfEveryRankAndValues) {
  std::vector<std::string> texts;
  std::vector<double> values;
  for (int other = 0; other < size(); ++other) {
    texts.push_back(std::string(static_cast<std::size_t>(other) * 3000, 'a'));
    values.push_back(other * 0.5);
  }
  EXPECT_EQ(all_gather_text(communicator(), texts[static_cast<std::size_t>(rank())]), texts);
  EXPECT_EQ(all_gather_values(communicator(), rank() * 0.5), values);
  EXPECT_EQ(broadcast_text(communicator(), rank() == 0 ? "from rank 0" : "ignored"), "from rank 0");
  EXPECT_EQ(broadcast_text(communicator(), ""), "");
}

TEST_F(Agreement, SharesWhatRank0Did) {
  int calls = 0;
  const auto result = on_rank_0(communicator(), [&] {
    ++calls;
    return std::string(9000, 'r');
  });
  EXPECT_EQ(result, std::string(9000, 'r'));
  EXPECT_EQ(calls, rank() == 0 ? 1 : 0);
  EXPECT_EQ(on_rank_0(communicator(), [] { return std::string(); }), "");
  try {
    on_rank_0(communicator(), []() -> std::string { throw UsageError("cannot read F"); });
    FAIL() << "no error";
  } catch (const AgreedError& error) {
    EXPECT_STREQ(error.what(), "cannot read F");
    EXPECT_EQ(error.exit_code(), 2);
  }
}

}  // namespace
}  // namespace lshdp::comm
