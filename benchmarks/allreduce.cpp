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

#include "lshdp/comm/agree.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/median.h"
#include "lshdp/core/text.h"
#include "machine_cpu.h"

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
  return {median(seconds), cpu};
}

/// Bytes per second of one rank's copies while all ranks copy: on one machine no transport is faster.
double copy_limit(comm::Communicator& communicator) {
  std::vector<char> from(64 << 20, 1), to(from.size());
  const Timing timing = time(communicator, 3, [&] { std::memcpy(to.data(), from.data(), from.size()); });
  return static_cast<double>(from.size()) / timing.seconds;
}

/// What a rank's computation loses beside a transfer, what the transfer needs, and where the loss goes:
/// 1 - compute_lost = (1 - engine_share) (1 - cpu_missed) (1 - slowed).
struct Loss {
  double compute_lost = 0;  // of its rate alone
  double needed_share = 0;  // of the CPU time that the process gets alone: what a transfer takes with no computation
                            // beside it, interrupts included
  double engine_share = 0;  // of the CPU time that the process got
  double cpu_missed = 0;    // of the CPU time a second that the process got when it computed alone
  double slowed = 0;        // of its rate in CPU time: cold caches, and interrupts that the kernel charges to it
};

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
    cpu += fmt::format("; compute loses up to {:.0f} % of the CPU, the transfer needs {:.0f} %",
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

/// A computation that stays in the cache, until `stop` says so: its rounds.
double compute_until(const std::function<bool()>& stop) {
  std::vector<float> values(4096, 1.0F);
  std::int64_t rounds = 0;
  while (!stop()) {
    for (int i = 0; i < 64; ++i) {
      for (float& value : values) value = value * 0.999F + 0.001F;
    }
    ++rounds;
  }
  return static_cast<double>(rounds);
}

/// Sums over the times that this rank computed.
struct Computed {
  double seconds = 0, rounds = 0;
  double cpu_seconds = 0, engine_seconds = 0;

  double rate() const { return rounds / seconds; }
  double cores() const { return cpu_seconds / seconds; }
  double engine_share() const { return engine_seconds / cpu_seconds; }
  double rounds_per_cpu_second() const { return rounds / (cpu_seconds - engine_seconds); }
};

/// What a rank does from its making on, when all ranks begin.
class Watch {
 public:
  explicit Watch(comm::Communicator& communicator) : communicator_(communicator) {
    communicator.barrier();
    begun_ = now_seconds();
    cpu_ = process_cpu_seconds();
    engine_ = communicator.counters().cpu_seconds;
  }

  double seconds() const { return now_seconds() - begun_; }

  void add_to(Computed& sums, double rounds) const {
    sums.seconds += seconds();
    sums.rounds += rounds;
    sums.cpu_seconds += process_cpu_seconds() - cpu_;
    sums.engine_seconds += communicator_.counters().cpu_seconds - engine_;
  }

 private:
  comm::Communicator& communicator_;
  double begun_ = 0, cpu_ = 0, engine_ = 0;
};

/// The computation with no transfer beside it, on all ranks at once, for a second.
void compute_alone(comm::Communicator& communicator, Computed& sums) {
  const Watch watch(communicator);
  watch.add_to(sums, compute_until([&] { return watch.seconds() > 1; }));
}

/// One all-reduce while every rank computes; returns the seconds of the slowest.
double reduce_beside(comm::Communicator& communicator, const comm::Buffer& buffer, std::span<std::byte> scratch,
                     Computed& sums) {
  const Watch watch(communicator);
  comm::Work work = communicator.all_reduce_sum(buffer, {.scratch = scratch});
  const double rounds = compute_until([&] { return work.done(); });
  work.wait();
  const double seconds = watch.seconds();
  watch.add_to(sums, rounds);
  return max_of(comm::all_gather_values(communicator, seconds));
}

/// Work of all ranks with nothing beside it: its mean time, and the cores of all machines together that were busy.
struct Busy {
  double seconds = 0, cores = 0;
};

Busy busy_with(comm::Communicator& communicator, const std::function<void()>& work) {
  constexpr double kWindow = 2;  // seconds: the kernel counts hundredths
  communicator.barrier();
  const double begun = now_seconds(), busy = busy_seconds_of_machines(communicator);
  double elapsed = 0;
  int times = 0;
  for (; elapsed < kWindow; ++times) {
    work();
    elapsed = max_of(comm::all_gather_values(communicator, now_seconds() - begun));
  }
  return {elapsed / times, (busy_seconds_of_machines(communicator) - busy) / elapsed};
}

/// CPU-seconds that a rank and its part of the kernel spend on one all-reduce. Interrupts cannot be told apart by rank,
/// but all ranks send and receive the same.
double cpu_needed(comm::Communicator& communicator, const comm::Buffer& buffer, std::span<std::byte> scratch) {
  const Busy idle = busy_with(communicator, [] { sleep_until(now_seconds() + 0.1); });
  const Busy transfer =
      busy_with(communicator, [&] { communicator.all_reduce_sum(buffer, {.scratch = scratch}).wait(); });
  return (transfer.cores - idle.cores) * transfer.seconds / communicator.size();
}

/// `needed`: CPU-seconds that the transfers took without a computation.
std::vector<Loss> all_losses(comm::Communicator& communicator, const Computed& alone, const Computed& beside,
                             double needed) {
  const auto lost = comm::all_gather_values(communicator, 1 - beside.rate() / alone.rate());
  const auto need = comm::all_gather_values(communicator, needed / beside.seconds / alone.cores());
  const auto share = comm::all_gather_values(communicator, beside.engine_share());
  const auto missed = comm::all_gather_values(communicator, 1 - beside.cores() / alone.cores());
  const auto slowed =
      comm::all_gather_values(communicator, 1 - beside.rounds_per_cpu_second() / alone.rounds_per_cpu_second());
  std::vector<Loss> losses;
  for (std::size_t r = 0; r < lost.size(); ++r) losses.push_back({lost[r], need[r], share[r], missed[r], slowed[r]});
  return losses;
}

/// All-reduces while every rank computes: what they reach, and what the computation loses.
Row beside_row(comm::Communicator& communicator, const comm::Buffer& buffer, std::span<std::byte> scratch,
               int repetitions) {
  const double needed = cpu_needed(communicator, buffer, scratch) * repetitions;
  Computed alone, beside;
  compute_alone(communicator, alone);
  std::vector<double> seconds;
  for (int i = 0; i < repetitions; ++i) seconds.push_back(reduce_beside(communicator, buffer, scratch, beside));
  compute_alone(communicator, alone);
  const double engine = sum(comm::all_gather_values(communicator, beside.engine_seconds));
  return {buffer.count * static_cast<std::int64_t>(comm::size_of(buffer.type)),
          "beside",
          {median(seconds), engine / communicator.size() / repetitions},
          all_losses(communicator, alone, beside, needed)};
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
  add("exact", bytes, [&] { communicator.all_reduce_sum(buffer, {.scratch = scratch}).wait(); });
  add("bf16", bytes / 2,
      [&] { communicator.all_reduce_sum(buffer, {.wire = comm::Wire::bf16, .scratch = scratch}).wait(); });
  add("mpi", bytes, [&] {
    MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(data.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  });
  if (options.algorithms.contains("beside")) {
    rows.push_back(beside_row(communicator, buffer, scratch, options.repetitions));
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
