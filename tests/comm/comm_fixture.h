// What tests on ranks share: a communicator with tiny segments, so that short vectors already make long pipelines.
#pragma once
#include <memory>
#include <type_traits>

#include <gtest/gtest.h>

#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"

namespace lshdp::test {

template <typename T>
constexpr comm::DataType type_of() {
  return std::is_same_v<T, float> ? comm::DataType::float32 : comm::DataType::float64;
}

class OnRanks : public testing::Test {
 protected:
  void SetUp() override { make({.segment_bytes = 1000}); }
  /// Destroyed on all ranks together, as the destructor asks for.
  void TearDown() override {
    communicator_->barrier();
    communicator_.reset();
  }
  void make(const comm::EngineOptions& options) { communicator_ = comm::make_mpi_communicator(session_, options); }

  comm::Communicator& communicator() const { return *communicator_; }
  int rank() const { return session_.rank(); }
  int size() const { return session_.size(); }
  int right() const { return (rank() + 1) % size(); }
  int left() const { return (rank() + size() - 1) % size(); }

 private:
  comm::MpiSession session_{nullptr, nullptr};
  std::unique_ptr<comm::Communicator> communicator_;
};

}  // namespace lshdp::test
