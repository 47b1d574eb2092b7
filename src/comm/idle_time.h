// How long this process has got on with nothing.
#pragma once
#include "lshdp/comm/communicator.h"
#include "rank_watch.h"

namespace lshdp::comm {

/// A process gets on while it notes activities, computes, sends or receives. One that computes slowly does; one that
/// waits for a disk, for memory that was swapped out, or for another rank does not.
class IdleTime {
 public:
  /// `counters`: of the communicator, whose threads' CPU time does not count. `most`: what one look may add, so that a
  /// process which stood still itself does not count that.
  double look(double now, const Counters& counters, double most);

 private:
  struct Seen {
    double time = 0, cpu = 0;
    std::int64_t bytes = 0, faults = 0;
    std::uint64_t changes = 0;
  };
  static Seen see(double now, const Counters& counters);

  Seen last_;
  double idle_ = 0;
};

}  // namespace lshdp::comm
