// main() of tests that run on several ranks: every rank runs the same tests, and a failure on any rank fails all of
// them.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include <gtest/gtest.h>
#include <mpi.h>

namespace {

/// After each test, ranks agree whether it failed anywhere: otherwise a later test would wait for a rank that stopped
/// early.
class AgreeOnFailure : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo& info) override {
    int failed = info.result()->Failed() ? 1 : 0, anywhere = 0;
    MPI_Allreduce(&failed, &anywhere, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    any_failed = any_failed || anywhere != 0;
  }

 public:
  bool any_failed = false;
};

/// An exception that leaves a test would let the other ranks wait for ever.
[[noreturn]] void abort_all_ranks() {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string name = test == nullptr ? "" : std::string(test->test_suite_name()) + '.' + test->name();
  std::string what = "an unknown exception";
  try {
    if (std::current_exception()) std::rethrow_exception(std::current_exception());
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
  }
  std::fprintf(stderr, "%s: %s\n", name.c_str(), what.c_str());
  MPI_Abort(MPI_COMM_WORLD, 3);
  std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  std::set_terminate(abort_all_ranks);
  testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(catch_exceptions, false);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  auto* agree = new AgreeOnFailure;
  listeners.Append(agree);
  if (rank != 0) {
    // The other ranks print failures only.
    class FailuresOnly : public testing::EmptyTestEventListener {
      void OnTestPartResult(const testing::TestPartResult& result) override {
        if (!result.failed()) return;
        std::fprintf(stderr, "%s:%d: %s\n", result.file_name() ? result.file_name() : "?", result.line_number(),
                     result.message());
      }
    };
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailuresOnly);
  }
  const int result = RUN_ALL_TESTS();
  const bool failed = result != 0 || agree->any_failed;
  MPI_Finalize();
  return failed ? 1 : 0;
}
