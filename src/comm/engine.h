// The engine thread of a communicator: the only one that calls MPI, on two duplicated MPI communicators of its own.
#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <mpi.h>

#include "engine_group.h"
#include "heartbeat.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/comm/mpi_communicator.h"
#include "meter.h"
#include "operation.h"
#include "wakeup.h"

namespace lshdp::comm {

/// Carries operations out: posts receives as early as it may, sends what is most urgent, sleeps in between.
///
/// A sender holds one of few places for sends in flight until its message is received, so a message whose receiver is
/// not ready could keep others from being sent, in a circle. Therefore the receiver, its receives posted, sends an
/// empty message (clear to send) with the operation's tag on a second MPI communicator to those it receives from, and
/// nothing but small messages is sent before all of these of the operation are there.
class Engine {
 public:
  /// Starts the thread and makes the communicators of `members` (ranks of MPI_COMM_WORLD; empty: all), which all must
  /// call it; `meter` and `group` may serve other engines, too. Throws RunError.
  Engine(const EngineOptions& options, std::vector<int> members, std::shared_ptr<Meter> meter,
         std::shared_ptr<EngineGroup> group);
  /// Ends the thread. Operations still under way fail.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Enqueues an operation of a `kind`, in words, whose messages carry `mpi_tag`. Throws std::invalid_argument if
  /// how.tag is under way already.
  Work submit(const char* kind, Schedule schedule, Buffer vector, const Transfer& how, int mpi_tag, bool small);
  /// Nothing submitted is left to finish.
  bool idle() const;
  /// From the next send on.
  void set_sends_in_flight(int sends) { sends_in_flight_ = sends; }
  int sends_in_flight() const { return sends_in_flight_; }
  /// Fails what is under way and all that comes.
  void abandon();
  Counters counters() const;
  const std::shared_ptr<Meter>& meter() const { return meter_; }
  const std::shared_ptr<EngineGroup>& group() const { return group_; }

 private:
  struct Sending {
    MPI_Request request = MPI_REQUEST_NULL;
    std::int64_t bytes = 0;
    std::vector<std::byte> staging;
  };
  struct Receiving {
    MPI_Request request = MPI_REQUEST_NULL;
    std::int64_t bytes = 0;
  };
  /// An operation with its requests, the oldest first in each list.
  struct Active {
    const char* kind;
    Operation operation;
    int mpi_tag;
    std::deque<MPI_Request> clears_to_send = {};  // of the ranks it sends to, as far as they have not come
    std::deque<Sending> sends = {};
    std::deque<Receiving> receives = {};
  };
  enum class Kind { clear_to_send, send, receive };
  struct Owner {
    Active* active;
    Kind kind;
  };

  void run(std::promise<void>& ready);
  void open();
  void close();
  void serve();
  bool take_submitted();
  bool make_progress();
  bool complete_requests();
  void collect_requests();
  static MPI_Request& oldest_request(const Owner& owner);
  void complete(const Owner& owner, const MPI_Status& status);
  void exchange_clear_to_send(Active& active);
  void post_receives(Active& active);
  bool send_ready();
  Active* most_urgent();
  void send_next(Active& active);
  bool retire_finished();
  void retire(Active& active, const std::string& error);
  void fail_all(const std::string& error);
  bool sleep();
  double max_sleep() const;
  void note_move();
  void note_waiting(double now);
  void leave_no_rank_waiting(double now) const;

  const EngineOptions options_;
  const std::vector<int> members_;
  int rank_ = 0, size_ = 1;
  const std::shared_ptr<Wakeup> wakeup_ = std::make_shared<Wakeup>();
  const std::shared_ptr<Meter> meter_;
  const std::shared_ptr<EngineGroup> group_;

  // Shared with callers, under mutex_.
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Active>> submitted_;
  std::set<int> tags_;
  std::int64_t under_way_ = 0;
  std::atomic<int> sends_in_flight_;
  std::atomic<bool> stopping_ = false, abandoned_ = false;

  // Of the engine thread only.
  MPI_Comm data_ = MPI_COMM_NULL, control_ = MPI_COMM_NULL;
  std::list<std::unique_ptr<Active>> active_;  // oldest first
  std::optional<Heartbeat> heartbeat_;         // of the engine of all ranks
  int in_flight_ = 0;
  double sleep_seconds_ = 0;
  double last_move_ = 0, typical_gap_ = 0;  // seconds
  double last_note_ = 0, failed_at_ = 0;
  std::string failure_;  // once MPI has failed, every operation does
  std::vector<MPI_Request> requests_;
  std::vector<Owner> owners_;
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
  std::vector<std::vector<std::byte>> spare_;  // staging memory to use again

  clockid_t thread_clock_ = {};
  std::thread thread_;
};

}  // namespace lshdp::comm
