// Beats sent and counted.
#include "heartbeat.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/core/host.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"

namespace lshdp::comm {
namespace {

constexpr int kTag = 30'010;  // no other message of MPI_COMM_WORLD has it
constexpr double kBetweenLooks = 0.25;

}  // namespace

Heartbeat::Heartbeat(int rank, int size, const HeartbeatTimes& times) : rank_(rank), times_(times) {
  for (Beat& beat : *beats_) host_name().copy(beat.host.data(), beat.host.size() - 1);
  (*beats_)[1].ends = 1;
  for (int watcher = 0; watcher < std::min(size, 2); ++watcher)
    if (watcher != rank && (watcher == 0 || rank == 0)) watchers_.push_back(watcher);
  if (rank == 0)
    for (int other = 1; other < size; ++other) watched_.push_back({.rank = other});
  if (rank == 1) watched_.push_back({.rank = 0});
  for (Watched& watched : watched_) expect(watched);
}

Heartbeat::~Heartbeat() {
  send(1);
  for (Watched& watched : watched_) {
    if (watched.request == MPI_REQUEST_NULL) continue;
    int done = 0;
    MPI_Cancel(&watched.request);
    MPI_Test(&watched.request, &done, MPI_STATUS_IGNORE);
    if (done == 0) MPI_Request_free(&watched.request);
  }
}

void Heartbeat::tick(double now) {
  if (now < last_look_ + std::min(kBetweenLooks, times_.between_beats)) return;
  // A rank that stood still itself has not listened meanwhile.
  const double passed = std::min(now - last_look_, 2 * kBetweenLooks);
  last_look_ = now;
  if (now >= last_beat_ + times_.between_beats) {
    last_beat_ = now;
    send(0);
  }
  for (Watched& watched : watched_) listen(watched, passed);
}

void Heartbeat::send(int ends) {
  for (const int watcher : watchers_) {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Isend(&(*beats_)[static_cast<std::size_t>(ends)], sizeof(Beat), MPI_BYTE, watcher, kTag, MPI_COMM_WORLD,
              &request);
    MPI_Request_free(&request);
  }
}

void Heartbeat::expect(Watched& watched) {
  MPI_Irecv(&watched.beat, sizeof watched.beat, MPI_BYTE, watched.rank, kTag, MPI_COMM_WORLD, &watched.request);
}

void Heartbeat::listen(Watched& watched, double passed) {
  int heard = 1;
  bool any = false;
  while (watched.request != MPI_REQUEST_NULL && heard != 0) {
    MPI_Test(&watched.request, &heard, MPI_STATUS_IGNORE);
    if (heard == 0) break;
    any = true;
    watched.host = watched.beat.host.data();
    if (watched.beat.ends == 0) expect(watched);
  }
  if (watched.request == MPI_REQUEST_NULL) return;
  if (any && watched.told) {
    tell(fmt::format("rank {} ({}) works again", watched.rank, watched.host));
    watched.told = false;
  }
  watched.silent = any ? 0 : watched.silent + passed;
  if (watched.silent < times_.standstill || watched.told) return;
  watched.told = true;
  tell(
      fmt::format("rank {} ({}) has stood still for {}: the others wait for it; is its process stopped, or its host or "
                  "network down?",
                  watched.rank, watched.host, format_seconds(times_.standstill)));
}

void Heartbeat::tell(const std::string& text) const {
  // The log of other ranks than 0 holds errors only.
  if (rank_ == 0)
    spdlog::warn("{}", text);
  else
    spdlog::error("{}", text);
}

}  // namespace lshdp::comm
