// Beats sent, received and judged.
#include "heartbeat.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/host.h"
#include "lshdp/core/interrupt.h"
#include "lshdp/core/log.h"

namespace lshdp::comm {
namespace {

constexpr int kTag = 0;
constexpr double kBetweenLooks = 0.25;
// The launcher leaves a second between the signal that asks a process to end and the one that kills it.
constexpr double kTimeToAnswer = 0.5;
constexpr std::chrono::milliseconds kBetweenGuards{200};
constexpr std::size_t kHostLength = 64;

/// Of all ranks, by rank.
std::vector<std::string> gather_host_names(MPI_Comm communicator, int size) {
  std::array<char, kHostLength> mine{};
  host_name().copy(mine.data(), kHostLength - 1);
  std::vector<std::array<char, kHostLength>> all(static_cast<std::size_t>(size));
  MPI_Allgather(mine.data(), kHostLength, MPI_BYTE, all.data(), kHostLength, MPI_BYTE, communicator);
  std::vector<std::string> names;
  for (const auto& name : all) names.emplace_back(name.data());
  return names;
}

}  // namespace

Heartbeat::Heartbeat(const HeartbeatTimes& times, EngineGroup& group, const Meter& meter)
    : times_(times), group_(group), meter_(meter) {
  if (MPI_Comm_dup(MPI_COMM_WORLD, &communicator_) != MPI_SUCCESS) throw RunError("MPI_Comm_dup failed");
  MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  int size = 1;
  MPI_Comm_rank(communicator_, &rank_);
  MPI_Comm_size(communicator_, &size);
  watch_ = std::make_unique<RankWatch>(rank_, gather_host_names(communicator_, size), times);
  for (int other = 0; other < size; ++other) {
    if (!RankWatch::are_linked(rank_, other)) continue;
    outgoing_.push_back(std::make_unique<Outgoing>());
    outgoing_.back()->rank = other;
  }
  if (rank_ < 2) last_words_ = std::thread([this] { guard_last_words(); });
}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (last_words_.joinable()) last_words_.join();
  send(Meaning::ends);
  for (auto& outgoing : outgoing_) {
    int done = 1;
    if (outgoing->request != MPI_REQUEST_NULL) MPI_Test(&outgoing->request, &done, MPI_STATUS_IGNORE);
    // To a rank that stands still MPI may send it much later, as long as the process lives.
    if (done == 0) static_cast<void>(outgoing.release());
  }
}

void Heartbeat::tick(double now) {
  last_tick_ = now;
  const double between = std::min(kBetweenLooks, times_.between_beats);
  if (now < last_look_ + between) return;
  // A rank that stood still itself has not listened meanwhile.
  const double passed = last_look_ == 0 ? 0 : std::min(now - last_look_, 2 * between);
  last_look_ = now;
  const bool told = mine_.idle >= watch_->told_after();
  mine_ = state_of_this_rank(now);
  const bool wanted = receive();
  say(look(passed));
  if (now >= last_beat_ + times_.between_beats || wanted || told != (mine_.idle >= watch_->told_after())) {
    last_beat_ = now;
    send(Meaning::works);
  }
  if (interrupted() && !group_.ended()) ask_once(now);
}

Findings Heartbeat::look(double passed) {
  const std::lock_guard lock(mutex_);
  return watch_->look(passed, mine_);
}

/// The launcher ends all ranks when one has ended, but not at once: meanwhile who is gone gives no answer.
void Heartbeat::ask_once(double now) {
  if (any_left_) return;
  if (asked_ == 0) {
    asked_ = now;
    watch_->ask();
    send(Meaning::asks);
  } else if (!named_missing_ && now > asked_ + kTimeToAnswer) {
    named_missing_ = true;
    for (const std::string& text : watch_->missing()) warn(text);
  }
}

RankState Heartbeat::state_of_this_rank(double now) {
  RankState state{.activity = current_activity(), .operation = group_.waiting()};
  state.idle = idle_time_.look(now, meter_.read(now), watch_->told_after() / 2);
  state.waits = meter_.is_awaited() || state.activity.doing == Doing::waiting_for_parameters;
  return state;
}

void Heartbeat::send(Meaning meaning) {
  for (auto& outgoing : outgoing_) {
    int done = 1;
    if (outgoing->request != MPI_REQUEST_NULL) MPI_Test(&outgoing->request, &done, MPI_STATUS_IGNORE);
    if (done == 0) continue;
    outgoing->beat = {.meaning = meaning, .news_number = news_number_, .state = mine_};
    news_.copy(outgoing->beat.news.data(), outgoing->beat.news.size() - 1);
    MPI_Isend(&outgoing->beat, sizeof(Beat), MPI_BYTE, outgoing->rank, kTag, communicator_, &outgoing->request);
  }
}

/// Nothing is received before it has come: no memory waits for it. True if somebody asks for an answer.
bool Heartbeat::receive() {
  bool asked = false;
  int found = 1;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  while (MPI_Improbe(MPI_ANY_SOURCE, kTag, communicator_, &found, &message, &status) == MPI_SUCCESS && found != 0) {
    Beat beat;
    const int sender = status.MPI_SOURCE;
    if (MPI_Mrecv(&beat, sizeof beat, MPI_BYTE, &message, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
    asked = asked || beat.meaning == Meaning::asks;
    if (beat.meaning == Meaning::leaves) any_left_ = true;
    const std::lock_guard lock(mutex_);
    if (beat.meaning == Meaning::ends) {
      watch_->ended(sender);
    } else {
      watch_->heard(sender, beat.state);
    }
    if (sender == 0) repeat_news(beat);
  }
  return asked;
}

/// What rank 0 has said, other ranks say too: they may have logs of their own.
void Heartbeat::repeat_news(const Beat& beat) {
  if (beat.news_number == heard_news_) return;
  heard_news_ = beat.news_number;
  warn(beat.news.data());
}

void Heartbeat::say(const Findings& findings) {
  for (const std::string& text : findings.warnings) warn(text);
  if (rank_ == 0 && !findings.warnings.empty()) {
    news_ = fmt::format("{}", fmt::join(findings.warnings, "; "));
    ++news_number_;
    last_beat_ = 0;  // at once
  }
  for (const std::string& text : findings.recovered) spdlog::warn("{}", text);
  if (!findings.end.empty()) group_.end(findings.end);
}

/// Where the engine thread is held while the process is told to end, this one says what is known of all ranks.
void Heartbeat::guard_last_words() {
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, kBetweenGuards, [this] { return stopping_; })) {
    if (!interrupted() || last_tick_ == 0 || now_seconds() < last_tick_ + kTimeToAnswer) continue;
    if (any_left_ || group_.ended()) return;
    return warn("this run is being ended; last known of its ranks: " + watch_->describe_all());
  }
}

void Heartbeat::warn(const std::string& text) const {
  // The log of other ranks than 0 holds errors only.
  if (rank_ == 0)
    spdlog::warn("{}", text);
  else
    spdlog::error("{}", text);
}

}  // namespace lshdp::comm
