// Our all-reduce beside MPI_Allreduce, by size, with the share of the floor 2(N-1)/N x bytes / bandwidth and CPU per GB
// sent.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <cxxopts.hpp>
#include <fmt/format.h>
#include <mpi.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp {
namespace {

struct Options {
  double bandwidth = 0;  // bytes per second of a link, 0: measure what copying in memory gives
  std::vector<std::int64_t> sizes;
  int repetitions = 5;
  comm::EngineOptions engine;
};

struct Timing {
  double seconds = 0;      // of the slowest rank, median
  double cpu_seconds = 0;  // of a rank, mean over ranks and repetitions
};

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

/// CPU-seconds of the calling thread and the engine: what communication costs.
double cpu_now(const comm::Communicator& communicator) {
  return thread_cpu_seconds() + communicator.counters().cpu_seconds;
}

Timing time(comm::Communicator& communicator, int repetitions, const std::function<void()>& work) {
  work();
  std::vector<double> seconds;
  double cpu = 0;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    communicator.barrier();
    const double begun = now_seconds(), cpu_begun = cpu_now(communicator);
    work();
    const double elapsed = now_seconds() - begun, cpu_used = cpu_now(communicator) - cpu_begun;
    const auto all = comm::all_gather_values(communicator, elapsed);
    seconds.push_back(*std::max_element(all.begin(), all.end()));
    cpu += sum(comm::all_gather_values(communicator, cpu_used)) / communicator.size() / repetitions;
  }
  std::nth_element(seconds.begin(), seconds.begin() + repetitions / 2, seconds.end());
  return {seconds[static_cast<std::size_t>(repetitions) / 2], cpu};
}

/// Bytes per second of one rank's copies while all ranks copy: on one machine no transport is faster.
double copy_limit(comm::Communicator& communicator) {
  std::vector<char> from(64 << 20, 1), to(from.size());
  const Timing timing = time(communicator, 3, [&] { std::memcpy(to.data(), from.data(), from.size()); });
  return static_cast<double>(from.size()) / timing.seconds;
}

std::vector<std::string> row(std::int64_t bytes, const char* name, const Timing& timing, int ranks, double bandwidth) {
  const double sent = 2.0 * (ranks - 1) / ranks * static_cast<double>(bytes);
  return {format_size(bytes),
          name,
          format_seconds(timing.seconds),
          fmt::format("{:.3f}", sent / timing.seconds / 1e9),
          fmt::format("{:.1f} %", 100 * sent / bandwidth / timing.seconds),
          fmt::format("{:.3f}", timing.cpu_seconds / sent * 1e9)};
}

void measure(comm::Communicator& communicator, const Options& options) {
  const int ranks = communicator.size();
  const double bandwidth = options.bandwidth > 0 ? options.bandwidth : copy_limit(communicator);
  Table table({"bytes", "all-reduce", "time", "GB/s sent", "share of floor", "CPU-s per GB"});
  for (const std::int64_t bytes : options.sizes) {
    std::vector<float> data(static_cast<std::size_t>(bytes) / sizeof(float));
    const comm::Buffer buffer{data.data(), static_cast<std::int64_t>(data.size()), comm::DataType::float32};
    const auto add = [&](const char* name, const std::function<void()>& work) {
      table.add(row(bytes, name, time(communicator, options.repetitions, work), ranks, bandwidth));
    };
    add("lshdp", [&] { communicator.all_reduce_sum(buffer).wait(); });
    add("lshdp bf16", [&] { communicator.all_reduce_sum(buffer, {.wire = comm::Wire::bf16}).wait(); });
    add("MPI", [&] {
      MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(data.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    });
  }
  if (communicator.rank() != 0) return;
  std::printf("%d ranks; floor: 2(N-1)/N x bytes at %.3f GB/s (%s)\n%s", ranks, bandwidth / 1e9,
              options.bandwidth > 0 ? "given" : "copies in memory", table.to_string().c_str());
}

Options parse(int argc, char** argv) {
  cxxopts::Options parser("allreduce", "Times all-reduces of fp32. Run under mpirun.");
  parser.add_options()("bandwidth", "of a link, bytes per second", cxxopts::value<std::string>()->default_value("0"))(
      "sizes", "bytes", cxxopts::value<std::string>()->default_value("4KiB,64KiB,1MiB,16MiB,64MiB"))(
      "repetitions", "timed runs of each", cxxopts::value<int>()->default_value("5"))(
      "segment", "bytes of a segment", cxxopts::value<std::string>()->default_value("1MiB"))(
      "in-flight", "sends in flight", cxxopts::value<int>()->default_value("2"))(
      "sleep", "longest sleep, seconds", cxxopts::value<double>()->default_value("0.0005"));
  const auto given = parser.parse(argc, argv);
  Options options;
  options.bandwidth = static_cast<double>(parse_size(given["bandwidth"].as<std::string>(), "--bandwidth"));
  options.sizes = parse_size_list(given["sizes"].as<std::string>(), "--sizes");
  options.repetitions = given["repetitions"].as<int>();
  options.engine.segment_bytes = parse_size(given["segment"].as<std::string>(), "--segment");
  options.engine.sends_in_flight = given["in-flight"].as<int>();
  options.engine.longest_sleep_seconds = given["sleep"].as<double>();
  return options;
}

}  // namespace
}  // namespace lshdp

int main(int argc, char** argv) {
  lshdp::comm::MpiSession session(&argc, &argv);
  try {
    const lshdp::Options options = lshdp::parse(argc, argv);
    const auto communicator = lshdp::comm::make_mpi_communicator(session, options.engine);
    lshdp::measure(*communicator, options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "allreduce: %s\n", error.what());
    session.abort(1);
  }
  return 0;
}
