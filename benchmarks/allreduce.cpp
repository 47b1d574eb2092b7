// Our all-reduce beside MPI_Allreduce, by size: the share of the floor 2(N-1)/N x bytes / bandwidth, CPU per GB sent,
// and what a computation beside it loses.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <set>
#include <span>
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
  std::set<std::string> algorithms;
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

double max_of(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

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

/// `bytes`: of the vector as it travels.
std::vector<std::string> row(std::int64_t bytes, const char* name, const Timing& timing, int ranks, double bandwidth) {
  const double sent = 2.0 * (ranks - 1) / ranks * static_cast<double>(bytes);
  return {format_size(bytes),
          name,
          format_seconds(timing.seconds),
          fmt::format("{:.3f}", sent / timing.seconds / 1e9),
          fmt::format("{:.1f} %", 100 * sent / bandwidth / timing.seconds),
          fmt::format("{:.3f}", timing.cpu_seconds / sent * 1e9)};
}

/// Rounds of a computation that stays in the cache, per second of wall time, until `stop` says so or `seconds` are
/// over.
double compute_rate(double seconds, const std::function<bool()>& stop) {
  std::vector<float> values(4096, 1.0F);
  const double begun = now_seconds();
  std::int64_t rounds = 0;
  while (now_seconds() - begun < seconds && !stop()) {
    for (int i = 0; i < 64; ++i) {
      for (float& value : values) value = value * 0.999F + 0.001F;
    }
    ++rounds;
  }
  return static_cast<double>(rounds) / (now_seconds() - begun);
}

/// One all-reduce while every rank computes: what it reaches, and what the computation loses beside what the transfer's
/// CPU time alone would cost it (its share of the CPU time that the process got).
std::vector<std::string> beside_row(comm::Communicator& communicator, const comm::Buffer& buffer,
                                    std::span<std::byte> scratch, double bandwidth) {
  const double alone = compute_rate(1, [] { return false; });
  communicator.barrier();
  const double begun = now_seconds(), cpu = process_cpu_seconds();
  const double engine = communicator.counters().cpu_seconds;
  comm::Work work = communicator.all_reduce_sum(buffer, {.scratch = scratch});
  const double beside = compute_rate(1e9, [&] { return work.done(); });
  work.wait();
  const double seconds = now_seconds() - begun, engine_used = communicator.counters().cpu_seconds - engine;
  const double share = engine_used / (process_cpu_seconds() - cpu);
  const std::int64_t bytes = buffer.count * static_cast<std::int64_t>(comm::size_of(buffer.type));
  const double slowest = max_of(comm::all_gather_values(communicator, seconds));
  const Timing timing{slowest, sum(comm::all_gather_values(communicator, engine_used)) / communicator.size()};
  const double lost = max_of(comm::all_gather_values(communicator, 1 - beside / alone));
  const double needed = max_of(comm::all_gather_values(communicator, share));
  auto cells = row(bytes, "beside", timing, communicator.size(), bandwidth);
  cells.back() +=
      fmt::format("; compute loses up to {:.0f} %, engine's share of the CPU up to {:.0f} %", 100 * lost, 100 * needed);
  return cells;
}

void measure(comm::Communicator& communicator, const Options& options) {
  const int ranks = communicator.size();
  const double bandwidth = options.bandwidth > 0 ? options.bandwidth : copy_limit(communicator);
  Table table({"bytes", "all-reduce", "time", "GB/s sent", "share of floor", "CPU-s per GB"});
  for (const std::int64_t bytes : options.sizes) {
    std::vector<float> data(static_cast<std::size_t>(bytes) / sizeof(float));
    const comm::Buffer buffer{data.data(), static_cast<std::int64_t>(data.size()), comm::DataType::float32};
    const auto add = [&](const char* name, std::int64_t wire_bytes, const std::function<void()>& work) {
      if (!options.algorithms.contains(name)) return;
      table.add(row(wire_bytes, name, time(communicator, options.repetitions, work), ranks, bandwidth));
    };
    // Kept, as a store keeps it: fresh memory costs page faults.
    const auto shards = comm::equal_shards(buffer.count, ranks);
    std::vector<std::byte> scratch(comm::scratch_bytes(shards, buffer.type, communicator.rank()));
    add("exact", bytes, [&] { communicator.all_reduce_sum(buffer, {.scratch = scratch}).wait(); });
    add("bf16", bytes / 2,
        [&] { communicator.all_reduce_sum(buffer, {.wire = comm::Wire::bf16, .scratch = scratch}).wait(); });
    add("mpi", bytes, [&] {
      MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(data.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    });
    if (options.algorithms.contains("beside")) table.add(beside_row(communicator, buffer, scratch, bandwidth));
  }
  if (communicator.rank() != 0) return;
  std::printf("%d ranks; floor: 2(N-1)/N x bytes at %.3f GB/s (%s)\n%s", ranks, bandwidth / 1e9,
              options.bandwidth > 0 ? "given" : "copies in memory", table.to_string().c_str());
}

Options parse(int argc, char** argv) {
  cxxopts::Options parser("allreduce", "Times all-reduces of fp32. Run under mpirun.");
  parser.add_options()("bandwidth", "of a link, bytes per second", cxxopts::value<std::string>()->default_value("0"))(
      "sizes", "bytes", cxxopts::value<std::string>()->default_value("4KiB,64KiB,1MiB,16MiB,64MiB"))(
      "algorithms", "of exact, bf16 (rounded), mpi (MPI_Allreduce), beside (exact, while every rank computes)",
      cxxopts::value<std::vector<std::string>>()->default_value("exact,bf16,mpi,beside"))(
      "repetitions", "timed runs of each", cxxopts::value<int>()->default_value("5"))(
      "segment", "bytes of a segment", cxxopts::value<std::string>()->default_value("1MiB"))(
      "in-flight", "sends in flight", cxxopts::value<int>()->default_value("4"))(
      "sleep", "longest sleep, seconds", cxxopts::value<double>()->default_value("0.002"));
  const auto given = parser.parse(argc, argv);
  Options options;
  options.bandwidth = static_cast<double>(parse_size(given["bandwidth"].as<std::string>(), "--bandwidth"));
  options.sizes = parse_size_list(given["sizes"].as<std::string>(), "--sizes");
  options.repetitions = given["repetitions"].as<int>();
  const auto& algorithms = given["algorithms"].as<std::vector<std::string>>();
  options.algorithms = {algorithms.begin(), algorithms.end()};
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
