// A program in which rank 1 of a run fails when blocks move between its ranks: FOLDER HOW (throw, kill or memory).
#include <csignal>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string_view>

#include <ATen/Parallel.h>

#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/memory.h"
#include "lshdp/data/converters.h"
#include "lshdp/train/trainer.h"
#include "parallel/models.h"

namespace {

using namespace lshdp;

plan::Layout layout_of(int ranks, std::size_t first_end) {
  const std::size_t blocks = test::small_vit().blocks.size();
  plan::Replica replica{.batch = 8, .micro_batches = {4, 4}};
  for (int rank = 0; rank < ranks; ++rank) {
    const std::size_t start = rank == 0 ? 0 : replica.stages.back().end;
    const std::size_t end = first_end + static_cast<std::size_t>(rank);
    replica.stages.push_back({.rank = rank, .start = start, .end = rank + 1 == ranks ? blocks : end});
  }
  return {.blocks = blocks, .replicas = {replica}};
}

void train_until_it_fails(comm::Communicator& communicator, const std::filesystem::path& data, std::string_view how) {
  MemoryBudget budget;
  train::TrainOptions options;
  options.data = data;
  options.layout = layout_of(communicator.size(), 1);
  options.plan = plan::plan_of(*options.layout, static_cast<std::size_t>(communicator.size()));
  options.steps = 1000;
  options.next_layout = [&](std::int64_t done) -> std::optional<plan::Layout> {
    if (done != 10) return std::nullopt;
    if (communicator.rank() == 1) {
      std::fprintf(stderr, "failing at %.6f\n", now_seconds());
      if (how == "kill") std::raise(SIGKILL);
      if (how == "throw") throw std::runtime_error("failed on purpose");
      budget.set_limit(budget.used() + 64);
    }
    return layout_of(communicator.size(), 3);
  };
  train::train(communicator, test::small_vit(), options);
}

}  // namespace

int main(int argc, char** argv) {
  comm::MpiSession session(&argc, &argv);
  if (argc != 3) session.abort(2);
  at::set_num_threads(1);
  const auto communicator = comm::make_mpi_communicator(session);
  try {
    train_until_it_fails(*communicator, argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(3);
  }
  return 0;
}
