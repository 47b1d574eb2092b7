// A program whose last rank dies while the others stand in a collective; its argument says how: kill, abort, or none.
#include <csignal>
#include <cstdio>
#include <string_view>
#include <vector>

#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"

int main(int argc, char** argv) {
  lshdp::comm::MpiSession session(&argc, &argv);
  const auto communicator = lshdp::comm::make_mpi_communicator(session);
  std::vector<float> data(500'000, 1.0F);
  const lshdp::comm::Buffer buffer{data.data(), static_cast<std::int64_t>(data.size()), lshdp::comm::DataType::float32};
  communicator->all_reduce_sum(buffer).wait();
  if (session.rank() == session.size() - 1) {
    const std::string_view how = argc > 1 ? argv[1] : "none";
    // The clocks of processes on one host agree: the test counts from here.
    std::fprintf(stderr, "failing at %.6f\n", lshdp::now_seconds());
    if (how == "kill") std::raise(SIGKILL);
    if (how == "abort") session.abort(3);
  }
  communicator->all_reduce_sum(buffer).wait();
  return 0;
}
