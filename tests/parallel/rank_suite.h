// RankSuite: tests of one suite share a communicator over the ranks that mpirun started, each computing on one thread.
#pragma once
#include <memory>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "lshdp/comm/mpi_communicator.h"

namespace lshdp::test {

/// `Base`: testing::Test, or testing::TestWithParam of something.
template <typename Base>
class RankSuite : public Base {
 protected:
  static void SetUpTestSuite() {
    at::set_num_threads(1);
    communicator_ = comm::make_mpi_communicator(comm::MpiSession(nullptr, nullptr));
  }
  /// Destroyed on all ranks together, as the destructor asks for.
  static void TearDownTestSuite() {
    communicator_->barrier();
    communicator_.reset();
  }
  static int rank() { return communicator_->rank(); }
  static int ranks() { return communicator_->size(); }

  static inline std::unique_ptr<comm::Communicator> communicator_;
};

}  // namespace lshdp::test
