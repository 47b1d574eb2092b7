// Rounds of computing, of a transfer, and of both at once.
#include "computation_loss.h"

#include <algorithm>
#include <cstdint>

#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/median.h"
#include "machine_cpu.h"

namespace lshdp {
namespace {

using Transfer = std::function<comm::Work()>;

constexpr double kWindowSeconds = 1;  // of computing, of transfers, of both

double max_of_ranks(comm::Communicator& communicator, double value) {
  return std::ranges::max(comm::all_gather_values(communicator, value));
}

double mean_of_ranks(comm::Communicator& communicator, double value) {
  double sum = 0;
  for (const double one : comm::all_gather_values(communicator, value)) sum += one;
  return sum / communicator.size();
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

/// Cores of all machines together that are busy while every rank repeats `work` for a second; its mean seconds.
struct Busy {
  double cores = 0, seconds = 0;
};

Busy busy_with(comm::Communicator& communicator, const std::function<void()>& work) {
  communicator.barrier();
  const double begun = now_seconds(), busy = busy_seconds_of_machines(communicator);
  double elapsed = 0;
  int times = 0;
  for (; elapsed < kWindowSeconds; ++times) {
    work();
    elapsed = max_of_ranks(communicator, now_seconds() - begun);
  }
  return {(busy_seconds_of_machines(communicator) - busy) / elapsed, elapsed / times};
}

/// The computation with no transfer beside it, on all ranks at once.
Computed compute_alone(comm::Communicator& communicator) {
  const Watch watch(communicator);
  Computed alone;
  watch.add_to(alone, compute_until([&] { return watch.seconds() > kWindowSeconds; }));
  return alone;
}

/// Transfers for a second at least while every rank computes; adds the seconds of the slowest for each to `seconds`.
Computed transfer_beside(comm::Communicator& communicator, const Transfer& transfer, std::vector<double>& seconds) {
  Computed beside;
  for (double elapsed = 0; elapsed < kWindowSeconds; elapsed += seconds.back()) {
    const Watch watch(communicator);
    comm::Work work = transfer();
    const double rounds = compute_until([&] { return work.done(); });
    work.wait();
    const double taken = watch.seconds();
    watch.add_to(beside, rounds);
    seconds.push_back(max_of_ranks(communicator, taken));
  }
  return beside;
}

/// `needed_cores`: of the machine for each rank, while it does nothing but transfer.
Loss loss_of(const Computed& alone, const Computed& beside, double needed_cores) {
  return {1 - beside.rate() / alone.rate(), needed_cores / alone.cores(), beside.engine_share(),
          1 - beside.cores() / alone.cores(), 1 - beside.rounds_per_cpu_second() / alone.rounds_per_cpu_second()};
}

/// By rank, each figure the median of these rounds.
std::vector<Loss> median_losses(comm::Communicator& communicator, const std::vector<Loss>& rounds) {
  std::vector<Loss> losses(static_cast<std::size_t>(communicator.size()));
  for (double Loss::*figure :
       {&Loss::compute_lost, &Loss::needed_share, &Loss::engine_share, &Loss::cpu_missed, &Loss::slowed}) {
    std::vector<double> values;
    for (const Loss& round : rounds) values.push_back(round.*figure);
    const auto all = comm::all_gather_values(communicator, median(values));
    for (std::size_t rank = 0; rank < all.size(); ++rank) losses[rank].*figure = all[rank];
  }
  return losses;
}

}  // namespace

Beside measure_beside(comm::Communicator& communicator, const Transfer& transfer) {
  constexpr int kRounds = 9;
  const Busy idle = busy_with(communicator, [] { sleep_until(now_seconds() + 0.1); });
  std::vector<Loss> rounds;
  std::vector<double> seconds;
  double engine = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Computed alone = compute_alone(communicator);
    const Busy busy = busy_with(communicator, [&] { transfer().wait(); });
    const std::size_t before = seconds.size();
    const Computed beside = transfer_beside(communicator, transfer, seconds);
    // What the kernel does cannot be told apart by rank, but all ranks send and receive the same. A second of both
    // holds fewer transfers than a second of nothing else.
    const double per_second = static_cast<double>(seconds.size() - before) / beside.seconds;
    const double cpu_needed = (busy.cores - idle.cores) * busy.seconds / communicator.size();
    rounds.push_back(loss_of(alone, beside, cpu_needed * per_second));
    engine += mean_of_ranks(communicator, beside.engine_seconds);
  }
  return {median(seconds), engine / static_cast<double>(seconds.size()), median_losses(communicator, rounds)};
}

}  // namespace lshdp
