// Who of the ranks stands still, judged by what they say of themselves. No MPI here.
#pragma once
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine_group.h"
#include "lshdp/core/activity.h"

namespace lshdp::comm {

/// When ranks say what they do, and what follows where one stands still.
struct HeartbeatTimes {
  double between_beats = 2;
  double standstill = 10;        // a rank that stands still is named within so long
  double operation_limit = 900;  // and ends the run after so long; 0: never
};

/// What a rank says of itself. Sent as it lies in memory.
struct RankState {
  Activity activity = {};
  WaitingOperation operation = {};
  double idle = 0;     // seconds in which it got on with nothing: noted, computed, sent and received nothing
  bool waits = false;  // a thread stands in a wait for other ranks
};

/// What is to be said and done after a look.
struct Findings {
  std::vector<std::string> warnings;   // who stands still
  std::vector<std::string> recovered;  // who works again
  std::string end;                     // why the run ends now; empty: it goes on
};

/// Rank 0 hears all others and names those that stand still. Rank 1 hears all as well, names rank 0, and takes its
/// place while rank 0 is silent. The others hear these two: who hears neither is cut off. So messages grow with the
/// number of ranks, not with its square.
class RankWatch {
 public:
  /// `hosts`: by rank.
  RankWatch(int rank, std::vector<std::string> hosts, const HeartbeatTimes& times);
  /// Whether `rank` and `other` are to hear each other.
  static bool are_linked(int rank, int other) { return rank != other && (rank < 2 || other < 2); }
  /// So long a rank is silent or idle before it is named: what is heard is up to a beat old.
  double told_after() const;

  void heard(int rank, const RankState& state);
  /// The rank will say nothing more, as it should.
  void ended(int rank);
  /// From now on, who has not been heard since is missing.
  void ask();
  /// Texts about these, but for those that were named already.
  std::vector<std::string> missing() const;
  /// "rank 0 (a): forward of block 3 of step 17; ..", of the first ranks.
  std::string describe_all() const;

  /// To be called a few times in a second. `passed`: seconds since the last look, while this rank listened.
  Findings look(double passed, const RankState& mine);

 private:
  struct Watched {
    RankState state;
    double silent = 0;  // seconds
    bool asked = false;
  };
  enum class Standstill { silent, idle, hears_nobody, all_idle };

  std::string name_of(int rank) const;
  const RankState& state_of(int rank) const;
  bool is_silent(int rank, double seconds) const;
  bool is_any_late() const;
  bool hears_nobody(double seconds) const;
  bool speaks_of_silence(int rank) const;
  std::vector<int> silent_ranks(double seconds) const;
  std::vector<int> idle_ranks(double seconds) const;
  bool others_wait(int rank) const;
  bool others_wait_for(int rank) const;
  bool all_idle(double seconds) const;
  bool stands(int rank, Standstill how) const;
  std::string text_of(int rank, Standstill how, double seconds) const;
  void tell(int rank, Standstill how, Findings& findings);
  void tell_recovered(Findings& findings);
  std::string reason_to_end() const;

  const int rank_;
  const std::vector<std::string> hosts_;
  const HeartbeatTimes times_;
  std::map<int, Watched> watched_;  // until it ends
  std::set<std::pair<int, Standstill>> told_;
  RankState mine_;
};

}  // namespace lshdp::comm
