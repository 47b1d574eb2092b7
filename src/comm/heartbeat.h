// Small messages by which ranks tell each other what they do, so that one that stands still is noticed.
#pragma once
#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <mpi.h>

#include "idle_time.h"
#include "meter.h"
#include "rank_watch.h"

namespace lshdp::comm {

/// Every rank exchanges beats with ranks 0 and 1. By the engine thread of all ranks only; all ranks must make it and
/// let it go in the same order. Over an MPI communicator of its own, so that what is on its way when a heartbeat ends
/// can never reach a later one; for the same reason it is not freed.
class Heartbeat {
 public:
  Heartbeat(const HeartbeatTimes& times, EngineGroup& group, const Meter& meter);
  /// Tells the others that no more is to be expected.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// To be called often; does something a few times in a second. Logs who stands still; ends the group where the limit
  /// says so.
  void tick(double now);
  /// Operations of this rank have failed: it says why itself.
  void leave() { send(Meaning::leaves); }

 private:
  enum class Meaning : int { works, asks, leaves, ends };
  /// What is sent; below any limit from which MPI would ask the receiver first.
  struct Beat {
    Meaning meaning = Meaning::works;
    int news_number = 0;  // rank 0: what it has told last; 0: nothing yet
    RankState state;
    std::array<char, 600> news{};
  };
  /// To one rank. The memory is MPI's while the request is open; while it is, no other beat goes there.
  struct Outgoing {
    int rank = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    Beat beat;
  };

  void send(Meaning meaning);
  bool receive();
  Findings look(double passed);
  void repeat_news(const Beat& beat);
  RankState state_of_this_rank(double now);
  void ask_once(double now);
  void say(const Findings& findings);
  void warn(const std::string& text) const;
  void guard_last_words();

  const HeartbeatTimes times_;
  EngineGroup& group_;
  const Meter& meter_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  int rank_ = 0;
  std::mutex mutex_;  // guards the watch
  std::unique_ptr<RankWatch> watch_;
  std::vector<std::unique_ptr<Outgoing>> outgoing_;
  IdleTime idle_time_;
  RankState mine_;
  std::string news_;
  int news_number_ = 0, heard_news_ = 0;
  double last_look_ = 0, last_beat_ = 0;
  double asked_ = 0;  // when the others were asked for an answer; 0: they were not
  bool named_missing_ = false;
  std::atomic<bool> any_left_ = false;  // a rank has said that it fails

  // Ranks 0 and 1: MPI may hold the engine thread when it loses a connection, until the launcher ends the process.
  std::atomic<double> last_tick_ = 0;
  bool stopping_ = false;  // guarded by mutex_
  std::condition_variable stop_;
  std::thread last_words_;
};

}  // namespace lshdp::comm
