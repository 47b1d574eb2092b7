// SpeedEmulator: makes a rank behave as one of a slower machine, so that ranks on one machine are unequal.
#pragma once
#include <span>
#include <string>

namespace lshdp {

/// Stretches the wall time of computing to CPU time / share. One per computing thread, used on that thread only.
///
/// Deadlines count from begin(), so that time lost to other processes on the machine is made up by shorter sleeps later
/// and does not add to the emulated slowness. The thread's own CPU time is what counts: with T threads per rank, each
/// of which works as long as this one, the rank behaves as T cores of this share.
class SpeedEmulator {
 public:
  /// `share` of a core in (0, 1]; exactly 1 never sleeps and costs nothing. Throws std::invalid_argument otherwise.
  explicit SpeedEmulator(double share = 1);
  double share() const { return share_; }
  /// Call after every real wait (communication, input): what was waited is no debt of computing.
  void begin();
  /// Call after a piece of computing: sleeps until begin() + (CPU time of this thread since begin()) / share.
  void pay();

 private:
  double share_;
  double wall_begin_ = 0, cpu_begin_ = 0;
};

/// What validate_speeds needs to know of a rank.
struct RankSpeed {
  double share = 1;  // of a core
  std::string host;
  int cores = 1;    // of the host, that its ranks may use
  int threads = 1;  // the rank computes with
};

/// Throws UsageError (naming --emulate-speed) if a share is not in (0, 1], or if the ranks of one host claim more cores
/// together than it has: their speeds could not be kept. The message then gives a scaled list that fits. Shares that
/// are all exactly 1 emulate nothing and always pass. By rank.
void validate_speeds(std::span<const RankSpeed> ranks);

}  // namespace lshdp
