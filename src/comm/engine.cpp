// The loop of the engine thread.
#include "engine.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <pthread.h>

#include "abort_ranks.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"

namespace lshdp::comm {
namespace {

constexpr double kShortestSleep = 20e-6;
// Without an operation under way, MPI may still hold data of sends it has called complete: look after it now and then.
constexpr double kIdleSleep = 20e-3;
constexpr double kUnbegunSleep = 5e-3;
constexpr double kGapWeight = 0.2;  // of the newest gap between two events in the typical one
constexpr double kMaxGap = 4e-3;    // longer ones were waits for a rank, not for the wire
constexpr double kBetweenNotes = 0.25;
constexpr double kBeatsInStandstill = 5;  // at least, so that a late one is no standstill
constexpr double kTimeToFail = 20;        // for threads whose operations have failed to end the process

std::string text_of(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<std::size_t>(length));
}

void check(int code, const char* what) {
  if (code != MPI_SUCCESS) throw RunError(fmt::format("{} failed: {}", what, text_of(code)));
}

/// Forgets a request whose memory may go away; what has begun to arrive cannot be stopped.
void forget(MPI_Request& request, bool receive) {
  if (request == MPI_REQUEST_NULL) return;
  if (receive) MPI_Cancel(&request);
  int done = 0;
  MPI_Test(&request, &done, MPI_STATUS_IGNORE);
  if (done == 0) MPI_Request_free(&request);
}

/// Over `members` of MPI_COMM_WORLD, or over all of it if there are none.
void make_communicator(const std::vector<int>& members, MPI_Comm* communicator) {
  if (members.empty()) return check(MPI_Comm_dup(MPI_COMM_WORLD, communicator), "MPI_Comm_dup");
  MPI_Group world = MPI_GROUP_NULL, group = MPI_GROUP_NULL;
  check(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
  check(MPI_Group_incl(world, static_cast<int>(members.size()), members.data(), &group), "MPI_Group_incl");
  check(MPI_Comm_create_group(MPI_COMM_WORLD, group, 0, communicator), "MPI_Comm_create_group");
  MPI_Group_free(&group);
  MPI_Group_free(&world);
}

/// Each peer of a list of messages once.
template <typename Message>
std::set<int> peers_of(const std::vector<Message>& messages) {
  std::set<int> peers;
  for (const Message& message : messages) peers.insert(message.peer);
  return peers;
}

}  // namespace

Engine::Engine(const EngineOptions& options, std::vector<int> members, std::shared_ptr<Meter> meter,
               std::shared_ptr<EngineGroup> group)
    : options_(options),
      members_(std::move(members)),
      meter_(std::move(meter)),
      group_(std::move(group)),
      sends_in_flight_(options.sends_in_flight) {
  std::promise<void> ready;
  auto opened = ready.get_future();
  thread_ = std::thread([this, &ready] { run(ready); });
  try {
    opened.get();
  } catch (...) {
    thread_.join();
    throw;
  }
  pthread_getcpuclockid(thread_.native_handle(), &thread_clock_);
  meter_->thread_began(thread_clock_);
}

Engine::~Engine() {
  stopping_ = true;
  wakeup_->ring();
  meter_->thread_ends(thread_clock_);
  thread_.join();
}

Work Engine::submit(const char* kind, Schedule schedule, Buffer vector, const Transfer& how, int mpi_tag, bool small) {
  auto work = std::make_shared<EngineWork>(how.deferred, wakeup_, meter_);
  auto active = std::make_unique<Active>(
      Active{.kind = kind, .operation = Operation(std::move(schedule), vector, how, small, work), .mpi_tag = mpi_tag});
  {
    const std::lock_guard lock(mutex_);
    if (how.tag != kInOrder && !tags_.insert(how.tag).second)
      throw std::invalid_argument(fmt::format("an operation with tag {} is under way already", how.tag));
    submitted_.push_back(std::move(active));
    ++under_way_;
    work->enqueued();
  }
  wakeup_->ring();
  return Work(std::move(work));
}

bool Engine::idle() const {
  const std::lock_guard lock(mutex_);
  return under_way_ == 0;
}

void Engine::abandon() {
  abandoned_ = true;
  wakeup_->ring();
}

Counters Engine::counters() const { return meter_->read(now_seconds()); }

void Engine::run(std::promise<void>& ready) {
  try {
    open();
  } catch (...) {
    ready.set_exception(std::current_exception());
    return;
  }
  ready.set_value();
  while (true) {
    try {
      serve();
      break;
    } catch (const std::exception& error) {
      if (heartbeat_) heartbeat_->leave();
      fail_all(error.what());
    }
  }
  close();
}

void Engine::open() {
  for (MPI_Comm* communicator : {&data_, &control_}) {
    make_communicator(members_, communicator);
    check(MPI_Comm_set_errhandler(*communicator, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  check(MPI_Comm_rank(data_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(data_, &size_), "MPI_Comm_size");
  if (members_.empty() && size_ > 1)
    heartbeat_.emplace(HeartbeatTimes{std::min(options_.beat_seconds, options_.standstill_seconds / kBeatsInStandstill),
                                      options_.standstill_seconds, options_.operation_limit_seconds},
                       *group_, *meter_);
}

void Engine::close() {
  const bool whole = failure_.empty() && active_.empty();
  heartbeat_.reset();
  group_->note(this, {});
  fail_all("the communicator was destroyed while an operation was under way");
  // Freeing is collective: not where ranks may have gone different ways.
  if (!whole) return;
  MPI_Comm_free(&data_);
  MPI_Comm_free(&control_);
}

/// Until told to stop.
void Engine::serve() {
  while (true) {
    const bool stopping = stopping_;
    if (abandoned_ && failure_.empty()) throw RunError("communication was given up after an error on this rank");
    const double now = now_seconds();
    if (heartbeat_) heartbeat_->tick(now);
    note_waiting(now);
    if (group_->ended()) {
      if (failure_.empty()) throw RunError(group_->why());
      leave_no_rank_waiting(now);
    }
    bool moved = take_submitted();
    moved = make_progress() || moved;
    if (stopping) return;
    if (moved) {
      note_move();
    } else if (sleep()) {
      sleep_seconds_ = 0;
    }
  }
}

/// What the oldest operation waits for that has begun here.
void Engine::note_waiting(double now) {
  if (now < last_note_ + kBetweenNotes) return;
  last_note_ = now;
  for (const auto& active : active_) {
    const std::optional<int> peer = active->operation.waits_for();
    if (!active->operation.begun() || !peer) continue;
    const int rank = members_.empty() ? *peer : members_[static_cast<std::size_t>(*peer)];
    return group_->note(this, waiting_operation(active->kind, active->operation.tag(), rank));
  }
  group_->note(this, {});
}

/// Every operation has failed, but a thread may wait for something else, such as a device.
void Engine::leave_no_rank_waiting(double now) const {
  if (now < failed_at_ + kTimeToFail) return;
  spdlog::error("{}", group_->why());
  abort_ranks(1);
}

/// The next sleep begins with a quarter of the time that usually passes between two events: each test costs the core it
/// shares. What follows at once belongs to the same event.
void Engine::note_move() {
  const double now = now_seconds();
  if (sleep_seconds_ > 0) typical_gap_ += kGapWeight * (std::min(now - last_move_, kMaxGap) - typical_gap_);
  last_move_ = now;
  sleep_seconds_ = 0;
}

/// A small message that a thread waits for is a wait for a latency. Where no operation has begun on this rank, nobody
/// here waits for what may arrive.
double Engine::max_sleep() const {
  if (active_.empty()) return kIdleSleep;
  double longest = kUnbegunSleep;
  for (const auto& active : active_) {
    if (active->operation.small() && active->operation.work()->awaited()) return options_.max_sleep_seconds / 4;
    if (active->operation.begun()) longest = options_.max_sleep_seconds;
  }
  return std::max(longest, options_.max_sleep_seconds);
}

/// True if the bell was rung.
bool Engine::sleep() {
  const double first = std::max(typical_gap_ / 4, kShortestSleep);
  sleep_seconds_ = std::min(sleep_seconds_ == 0 ? first : 2 * sleep_seconds_, max_sleep());
  return wakeup_->sleep(sleep_seconds_);
}

bool Engine::take_submitted() {
  std::vector<std::unique_ptr<Active>> submitted;
  {
    const std::lock_guard lock(mutex_);
    submitted.swap(submitted_);
  }
  // All of them are in the list before MPI is called: if that fails, none is forgotten.
  const auto first_new = active_.insert(active_.end(), std::make_move_iterator(submitted.begin()),
                                        std::make_move_iterator(submitted.end()));
  if (!failure_.empty()) fail_all(failure_);
  if (active_.empty() || submitted.empty()) return false;
  std::for_each(first_new, active_.end(), [this](auto& active) {
    post_receives(*active);
    if (!active->operation.small()) exchange_clear_to_send(*active);
  });
  return true;
}

/// The ranks this one receives from hear that it is ready; those it sends to are listened to.
void Engine::exchange_clear_to_send(Active& active) {
  const Schedule& schedule = active.operation.schedule();
  for (const int peer : peers_of(schedule.sends)) {
    check(MPI_Irecv(nullptr, 0, MPI_BYTE, peer, active.mpi_tag, control_,
                    &active.clears_to_send.emplace_back(MPI_REQUEST_NULL)),
          "MPI_Irecv");
  }
  for (const int peer : peers_of(schedule.receives)) {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(nullptr, 0, MPI_BYTE, peer, active.mpi_tag, control_, &request), "MPI_Isend");
    check(MPI_Request_free(&request), "MPI_Request_free");
  }
}

void Engine::post_receives(Active& active) {
  while (const Incoming* receive = active.operation.next_receive()) {
    const Piece piece = active.operation.take_receive();
    MPI_Request& request = active.receives.emplace_back(Receiving{.bytes = piece.bytes}).request;
    check(
        MPI_Irecv(piece.data, static_cast<int>(piece.bytes), MPI_BYTE, receive->peer, active.mpi_tag, data_, &request),
        "MPI_Irecv");
  }
}

bool Engine::make_progress() {
  if (!failure_.empty()) return false;
  bool moved = complete_requests();
  for (auto& active : active_) {
    moved = active->operation.advance() || moved;
    post_receives(*active);
  }
  moved = send_ready() || moved;
  return retire_finished() || moved;
}

/// The oldest request of each list of each operation: others of the list are not done before it, or not much.
void Engine::collect_requests() {
  requests_.clear();
  owners_.clear();
  const auto add = [this](MPI_Request request, Active* active, Kind kind) {
    requests_.push_back(request);
    owners_.push_back({active, kind});
  };
  for (auto& active : active_) {
    if (!active->clears_to_send.empty()) add(active->clears_to_send.front(), active.get(), Kind::clear_to_send);
    if (!active->sends.empty()) add(active->sends.front().request, active.get(), Kind::send);
    if (!active->receives.empty()) add(active->receives.front().request, active.get(), Kind::receive);
  }
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
}

bool Engine::complete_requests() {
  collect_requests();
  if (requests_.empty()) {
    int unused = 0;
    check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, control_, &unused, MPI_STATUS_IGNORE), "MPI_Iprobe");
    return false;
  }
  int done = 0;
  const int code =
      MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &done, indices_.data(), statuses_.data());
  // MPI has freed what is done; no stale handle may survive, whatever happens next.
  for (std::size_t i = 0; i < owners_.size(); ++i) oldest_request(owners_[i]) = requests_[i];
  for (int i = 0; i < done && code == MPI_ERR_IN_STATUS; ++i)
    check(statuses_[static_cast<std::size_t>(i)].MPI_ERROR, "a transfer");
  check(code, "MPI_Testsome");
  for (int i = 0; i < done; ++i)
    complete(owners_[static_cast<std::size_t>(indices_[static_cast<std::size_t>(i)])],
             statuses_[static_cast<std::size_t>(i)]);
  return done > 0;
}

MPI_Request& Engine::oldest_request(const Owner& owner) {
  if (owner.kind == Kind::clear_to_send) return owner.active->clears_to_send.front();
  return owner.kind == Kind::send ? owner.active->sends.front().request : owner.active->receives.front().request;
}

void Engine::complete(const Owner& owner, const MPI_Status& status) {
  Active& active = *owner.active;
  if (owner.kind == Kind::clear_to_send) {
    active.clears_to_send.pop_front();
  } else if (owner.kind == Kind::send) {
    Sending sending = std::move(active.sends.front());
    active.sends.pop_front();
    active.operation.through();
    if (!active.operation.small()) --in_flight_;
    if (!sending.staging.empty()) spare_.push_back(std::move(sending.staging));
    meter_->sent(sending.bytes);
  } else {
    const std::int64_t wanted = active.receives.front().bytes;
    active.receives.pop_front();
    int got = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &got), "MPI_Get_count");
    if (got != wanted)
      throw RunError(fmt::format("ranks disagree about an operation (tag {}): rank {} sent {} bytes, {} were expected",
                                 active.operation.tag(), status.MPI_SOURCE, got, wanted));
    active.operation.arrive();
    meter_->received(wanted);
  }
}

/// Small messages at once; of the others the most urgent, as long as there are places.
bool Engine::send_ready() {
  bool sent = false;
  for (auto& active : active_) {
    while (active->operation.small() && active->operation.next_send() != nullptr) {
      send_next(*active);
      sent = true;
    }
  }
  while (in_flight_ < sends_in_flight_) {
    Active* best = most_urgent();
    if (best == nullptr) break;
    send_next(*best);
    ++in_flight_;
    sent = true;
  }
  return sent;
}

/// Of the operations that have something long to send; null if none has.
Engine::Active* Engine::most_urgent() {
  Active* best = nullptr;
  for (auto& active : active_) {
    const bool ready =
        !active->operation.small() && active->clears_to_send.empty() && active->operation.next_send() != nullptr;
    if (ready && (best == nullptr || active->operation.priority() < best->operation.priority())) best = active.get();
  }
  return best;
}

void Engine::send_next(Active& active) {
  const int peer = active.operation.next_send()->peer;
  Sending& sending = active.sends.emplace_back();
  if (!spare_.empty()) {
    sending.staging = std::move(spare_.back());
    spare_.pop_back();
  }
  const Piece piece = active.operation.take_send(sending.staging);
  sending.bytes = piece.bytes;
  check(MPI_Isend(piece.data, static_cast<int>(piece.bytes), MPI_BYTE, peer, active.mpi_tag, data_, &sending.request),
        "MPI_Isend");
}

bool Engine::retire_finished() {
  bool any = false;
  for (auto it = active_.begin(); it != active_.end();) {
    if (!(*it)->operation.finished()) {
      ++it;
      continue;
    }
    (*it)->operation.finish();
    retire(**it, {});
    it = active_.erase(it);
    any = true;
  }
  return any;
}

void Engine::retire(Active& active, const std::string& error) {
  {
    // Free for use again before anybody can know that the operation is done.
    const std::lock_guard lock(mutex_);
    tags_.erase(active.operation.tag());
    --under_way_;
  }
  active.operation.work()->finish(error);
}

/// Ends every operation with `error`, and all that come later.
void Engine::fail_all(const std::string& error) {
  if (failure_.empty()) {
    failure_ = error;
    failed_at_ = now_seconds();
  }
  {
    const std::lock_guard lock(mutex_);
    for (auto& active : submitted_) active_.push_back(std::move(active));
    submitted_.clear();
  }
  for (auto& active : active_) {
    for (auto& clear : active->clears_to_send) forget(clear, true);
    for (auto& receive : active->receives) forget(receive.request, true);
    for (auto& send : active->sends) forget(send.request, false);
    retire(*active, error);
  }
  active_.clear();
  in_flight_ = 0;
}

}  // namespace lshdp::comm
