// Small messages by which ranks notice one that stands still, and say so.
#pragma once
#include <array>
#include <string>
#include <vector>

#include <mpi.h>

namespace lshdp::comm {

/// When ranks say that they work, and when one that does not is told of.
struct HeartbeatTimes {
  double between_beats = 2;
  double standstill = 10;
};

/// Every rank sends to ranks 0 and 1 that it works; rank 0 watches all others, rank 1 watches rank 0. Over
/// MPI_COMM_WORLD, by the engine thread only.
class Heartbeat {
 public:
  Heartbeat(int rank, int size, const HeartbeatTimes& times);
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// To be called often; does something a few times in a second.
  void tick(double now);

 private:
  /// What is sent.
  struct Beat {
    std::array<char, 120> host{};
    int ends = 0;  // the rank stops saying that it works
  };
  struct Watched {
    int rank;
    MPI_Request request = MPI_REQUEST_NULL;
    Beat beat = {};
    std::string host = "";  // once it has been heard from
    double silent = 0;      // seconds
    bool told = false;
  };

  void send(int ends);
  void expect(Watched& watched);
  void listen(Watched& watched, double passed);
  void tell(const std::string& text) const;

  const int rank_;
  const HeartbeatTimes times_;
  // What is sent in mid-run and at the end. Never freed: to a rank that stands still, MPI may send it much later.
  std::array<Beat, 2>* const beats_ = new std::array<Beat, 2>;
  std::vector<int> watchers_;
  std::vector<Watched> watched_;
  double last_look_ = 0, last_beat_ = 0;
};

}  // namespace lshdp::comm
