// The best of many candidates, kept while they stream by.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "lshdp/explore/search.h"

namespace lshdp::explore {

enum class RankBy : std::uint8_t {
  memory,   // of the worst stage, with its margin; then devices
  devices,  // then memory
  time      // seconds of a step; then devices, then memory
};

/// True if `one` comes before `other`. Layouts of equal rank stand in the order of Layout, so that the order of two
/// candidates never depends on when they came.
bool comes_before(const Candidate& one, const Candidate& other, RankBy by);

/// The first `most` candidates, in their order. Of those that differ only in a sharding level without effect (DP 1),
/// one.
class Top {
 public:
  Top(std::size_t most, RankBy by) : most_(most), by_(by) {}
  void offer(const Candidate& candidate);
  const std::vector<Candidate>& candidates() const { return best_; }

 private:
  std::size_t most_;
  RankBy by_;
  std::vector<Candidate> best_;
};

/// Candidates that none beats in memory, devices and, where it is computed, the time of a step: without times, the
/// least memory for each number of devices, where more devices take less.
class ParetoFront {
 public:
  void offer(const Candidate& candidate);
  /// By devices, rising, and then by time.
  std::vector<Candidate> candidates() const;

 private:
  /// Of one number of devices, by time: the longer, the less memory.
  using Front = std::map<double, Candidate>;
  std::map<std::int64_t, Front> fronts_;  // by devices
};

}  // namespace lshdp::explore
