// What every block reads and gives in a rank's first micro-batch, and where that goes: train --verbose-forward.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/plan/layout.h"

namespace lshdp::train {

class ForwardReport {
 public:
  /// Listens to `walker`, which must outlive it, until each block that this rank holds has run once.
  ForwardReport(const model::Model& model, parallel::BlockWalker& walker);
  ~ForwardReport();
  ForwardReport(const ForwardReport&) = delete;
  ForwardReport& operator=(const ForwardReport&) = delete;

  /// A table of what was heard on all ranks, by rank and block: shapes with the samples first, types, devices, and the
  /// rank of the next stage with the bytes that go there. `layout`: without one each rank has the whole model. Empty
  /// but on rank 0. All ranks must call it.
  std::string table(comm::Communicator& communicator, const std::optional<plan::Layout>& layout) const;

 private:
  struct Row {
    std::size_t block = 0;
    std::string name, reads, gives, device;
    std::int64_t bytes = 0;  // that it gives
  };
  void hear(std::size_t block, const at::Tensor& input, const at::Tensor& output);

  const model::Model& model_;
  parallel::BlockWalker& walker_;
  std::vector<Row> rows_;  // in the order of computing
};

}  // namespace lshdp::train
