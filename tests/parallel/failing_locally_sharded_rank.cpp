// A program in which one rank of a locally sharded run fails in the middle of a step: RANK NODES HOW (throw or kill).
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include <ATen/ATen.h>

#include "lsdp/locally_sharded_store.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/parallel/walker.h"
#include "models.h"

namespace {

using namespace lshdp;

/// As a training loop does it: objects go away on the way out, then the run is brought down.
void train(comm::Communicator& communicator, int failing, int nodes, std::string_view how) {
  const model::Model model = test::small_vit();
  parallel::StoreOptions options{.bucket_bytes = 2048};
  for (int rank = 0; rank < communicator.size(); ++rank) options.node_names.push_back(std::to_string(rank % nodes));
  const auto store = parallel::make_locally_sharded_store(model, communicator, options);
  store->set_values(model::initial_values(model, 1));
  parallel::BlockWalker walker(model, *store, {});
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 2, 1);
  for (int step = 1; step <= 1000; ++step) {
    walker.begin_step({.step = step, .learning_rate = 1e-3, .global_terms = 8}, 1, batch.input);
    if (step == 10 && communicator.rank() == failing) {
      store->acquire(0);
      std::fprintf(stderr, "failing at %.6f\n", now_seconds());
      if (how == "kill") std::raise(SIGKILL);
      throw std::runtime_error("failed on purpose");
    }
    walker.backward_pass(walker.forward_pass(batch.input), batch.target, true);
  }
  store->synchronize();
}

}  // namespace

int main(int argc, char** argv) {
  comm::MpiSession session(&argc, &argv);
  if (argc != 4) session.abort(2);
  const auto communicator = comm::make_mpi_communicator(session);
  try {
    train(*communicator, std::atoi(argv[1]), std::atoi(argv[2]), argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(3);
  }
  return 0;
}
