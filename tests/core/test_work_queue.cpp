// One job after the other, on one thread.
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "lshdp/core/work_queue.h"

namespace lshdp {
namespace {

TEST(WorkQueue, DoesJobsInTheOrderInWhichTheyWereGivenOnOneThread) {
  std::vector<int> done, expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  std::vector<std::thread::id> threads;
  WorkQueue thread;
  for (const int job : expected) {
    thread.post([&, job] {
      done.push_back(job);
      threads.push_back(std::this_thread::get_id());
    });
  }
  thread.drain();
  EXPECT_EQ(done, expected);
  EXPECT_EQ(threads, std::vector(100, threads.front()));
  EXPECT_NE(threads.front(), std::this_thread::get_id());
}

TEST(WorkQueue, EndsWithNothingLeftUndone) {
  int done = 0;
  {
    WorkQueue thread;
    for (int i = 0; i < 50; ++i) thread.post([&] { ++done; });
  }
  EXPECT_EQ(done, 50);
}

TEST(WorkQueue, HoldsWhatItEnteredForAllItsJobs) {
  std::weak_ptr<int> entered;
  bool held = false;
  {
    WorkQueue thread([&]() -> std::shared_ptr<void> {
      auto scope = std::make_shared<int>();
      entered = scope;
      return scope;
    });
    thread.post([&] { held = !entered.expired(); });
  }
  EXPECT_TRUE(held);
  EXPECT_TRUE(entered.expired());
}

}  // namespace
}  // namespace lshdp
