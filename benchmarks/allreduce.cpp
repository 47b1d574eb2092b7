// Our all-reduce beside MPI_Allreduce, by size: the share of the floor 2(N-1)/N x bytes / bandwidth, CPU per GB sent,
// and what a computation beside it loses, with what the transfer needs of the CPU.
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
#include <fmt/ranges.h>
#include <mpi.h>

#include "computation_loss.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/median.h"
#include "lshdp/core/text.h"

namespace lshdp {
namespace {

struct Options {
  double bandwidth = 0;  // bytes per second of a link, 0: measure what copying in memory gives
  std::vector<std::int64_t> sizes;
  int repetitions = 5;
  std::set<std::string> algorithms;
  std::string json;  // file for the figures; empty: none
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
  return {median(seconds), cpu};
}

/// Bytes per second of one rank's copies while all ranks copy: on one machine no transport is faster.
double copy_limit(comm::Communicator& communicator) {
  std::vector<char> from(64 << 20, 1), to(from.size());
  const Timing timing = time(communicator, 3, [&] { std::memcpy(to.data(), from.data(), from.size()); });
  return static_cast<double>(from.size()) / timing.seconds;
}

/// One all-reduce of one size.
struct Row {
  std::int64_t bytes = 0;  // of the vector as it travels
  std::string algorithm;
  Timing timing;
  std::vector<Loss> losses = {};  // beside a computation: by rank
};

/// What every rank sends.
double bytes_sent(const Row& row, int ranks) { return 2.0 * (ranks - 1) / ranks * static_cast<double>(row.bytes); }

std::vector<std::string> cells(const Row& row, int ranks, double bandwidth) {
  const double sent = bytes_sent(row, ranks);
  std::string cpu = fmt::format("{:.3f}", row.timing.cpu_seconds / sent * 1e9);
  if (!row.losses.empty()) {
    cpu += fmt::format("; compute loses up to {:.0f} %, the transfer needs {:.0f} % of the CPU",
                       100 * std::ranges::max(row.losses, {}, &Loss::compute_lost).compute_lost,
                       100 * std::ranges::max(row.losses, {}, &Loss::needed_share).needed_share);
  }
  return {format_size(row.bytes),
          row.algorithm,
          format_seconds(row.timing.seconds),
          fmt::format("{:.3f}", sent / row.timing.seconds / 1e9),
          fmt::format("{:.1f} %", 100 * sent / bandwidth / row.timing.seconds),
          cpu};
}

Json to_json(const Row& row, int ranks) {
  Json json = {{"bytes", row.bytes},
               {"algorithm", row.algorithm},
               {"seconds", row.timing.seconds},
               {"bytes_sent", bytes_sent(row, ranks)},
               {"cpu_seconds", row.timing.cpu_seconds}};
  for (const Loss& loss : row.losses) {
    json["losses"].push_back({{"compute_lost", loss.compute_lost},
                              {"needed_share", loss.needed_share},
                              {"engine_share", loss.engine_share},
                              {"cpu_missed", loss.cpu_missed},
                              {"slowed", loss.slowed}});
  }
  return json;
}

std::vector<Row> measure_size(comm::Communicator& communicator, const Options& options, std::int64_t bytes) {
  std::vector<Row> rows;
  std::vector<float> data(static_cast<std::size_t>(bytes) / sizeof(float));
  const comm::Buffer buffer{data.data(), static_cast<std::int64_t>(data.size()), comm::DataType::float32};
  const auto add = [&](const char* name, std::int64_t wire_bytes, const std::function<void()>& work) {
    if (options.algorithms.contains(name)) {
      rows.push_back({wire_bytes, name, time(communicator, options.repetitions, work)});
    }
  };
  // Kept, as a store keeps it: fresh memory costs page faults.
  const auto shards = comm::all_reduce_shards(buffer.count, communicator.size());
  std::vector<std::byte> scratch(comm::scratch_bytes(shards, buffer.type, communicator.rank()));
  const auto all_reduce = [&] { return communicator.all_reduce_sum(buffer, {.scratch = scratch}); };
  add("exact", bytes, [&] { all_reduce().wait(); });
  add("bf16", bytes / 2, [&] { communicator.all_reduce_sum(buffer, {.wire = Wire::bf16, .scratch = scratch}).wait(); });
  add("mpi", bytes, [&] {
    MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(data.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  });
  if (options.algorithms.contains("beside")) {
    const Beside beside = measure_beside(communicator, all_reduce);
    rows.push_back({bytes, "beside", {beside.seconds, beside.cpu_seconds}, beside.losses});
  }
  return rows;
}

void report(const std::vector<Row>& rows, const Options& options, int ranks, double bandwidth) {
  Table table({"bytes", "all-reduce", "time", "GB/s sent", "share of floor", "CPU-s per GB"});
  Json list = Json::array();
  for (const Row& row : rows) {
    table.add(cells(row, ranks, bandwidth));
    list.push_back(to_json(row, ranks));
  }
  std::printf("%d ranks; floor: 2(N-1)/N x bytes at %.3f GB/s (%s)\n%s", ranks, bandwidth / 1e9,
              options.bandwidth > 0 ? "given" : "copies in memory", table.to_string().c_str());
  if (!options.json.empty()) write_json(options.json, {{"version", 1}, {"ranks", ranks}, {"rows", list}});
}

void measure(comm::Communicator& communicator, const Options& options) {
  const double bandwidth = options.bandwidth > 0 ? options.bandwidth : copy_limit(communicator);
  std::vector<Row> rows;
  for (const std::int64_t bytes : options.sizes) {
    for (Row& row : measure_size(communicator, options, bytes)) rows.push_back(std::move(row));
  }
  if (communicator.rank() == 0) report(rows, options, communicator.size(), bandwidth);
}

const std::set<std::string> kAlgorithms = {"exact", "bf16", "mpi", "beside"};

std::set<std::string> checked_algorithms(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (!kAlgorithms.contains(name)) {
      throw UsageError(fmt::format("--algorithms: {} is none; there are {}", name, fmt::join(kAlgorithms, ", ")));
    }
  }
  return {names.begin(), names.end()};
}

cxxopts::ParseResult split(cxxopts::Options& parser, int argc, char** argv) {
  try {
    return parser.parse(argc, argv);
  } catch (const cxxopts::exceptions::exception& error) {
    throw UsageError(error.what());
  }
}

Options parse(int argc, char** argv) {
  cxxopts::Options parser("allreduce", "Times all-reduces of fp32. Run under mpirun.");
  parser.add_options()("bandwidth", "of a link, bytes per second", cxxopts::value<std::string>()->default_value("0"))(
      "sizes", "bytes", cxxopts::value<std::string>()->default_value("4KiB,64KiB,1MiB,16MiB,64MiB"))(
      "algorithms", "of exact, bf16 (rounded), mpi (MPI_Allreduce), beside (exact, while every rank computes)",
      cxxopts::value<std::vector<std::string>>()->default_value("exact,bf16,mpi,beside"))(
      "json", "file for the figures", cxxopts::value<std::string>()->default_value(""))(
      "repetitions", "timed runs of each", cxxopts::value<int>()->default_value("5"))(
      "segment", "bytes of a segment", cxxopts::value<std::string>()->default_value("256KiB"))(
      "in-flight", "sends in flight", cxxopts::value<int>()->default_value("4"))(
      "sleep", "longest sleep, seconds", cxxopts::value<double>()->default_value("0.002"));
  const auto given = split(parser, argc, argv);
  Options options;
  options.bandwidth = static_cast<double>(parse_size(given["bandwidth"].as<std::string>(), "--bandwidth"));
  options.sizes = parse_size_list(given["sizes"].as<std::string>(), "--sizes");
  options.repetitions = given["repetitions"].as<int>();
  if (options.repetitions < 1) throw UsageError("--repetitions: at least 1");
  options.json = given["json"].as<std::string>();
  options.algorithms = checked_algorithms(given["algorithms"].as<std::vector<std::string>>());
  options.engine.segment_bytes = parse_size(given["segment"].as<std::string>(), "--segment");
  options.engine.sends_in_flight = given["in-flight"].as<int>();
  options.engine.max_sleep_seconds = given["sleep"].as<double>();
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
  } catch (const lshdp::UsageError& error) {
    // All ranks read the same command line: each comes here, and MPI ends in order.
    if (session.rank() == 0) std::fprintf(stderr, "allreduce: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "allreduce: %s\n", error.what());
    session.abort(1);
  }
  return 0;
}
