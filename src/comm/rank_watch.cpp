// Rules by which a standstill is told from waiting and from slow work, and their words.
#include "rank_watch.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/text.h"

namespace lshdp::comm {
namespace {

// Of the time to name a rank: the rest is for a beat on its way, for what a rank still does before it must wait, and
// for a busy machine.
constexpr double kToldShare = 0.7;
// Rank 0 ends a run for all; rank 1, and the others, who then are cut off from it, do so these seconds later.
constexpr double kDeputyGrace = 3, kOthersGrace = 6;
constexpr std::size_t kMostNamed = 8;
constexpr int kAllRanks = -1;  // in place of a rank, where a standstill is of no single one

std::string last_known(const RankState& state) {
  std::string text = describe(state.activity);
  if (!state.operation.exists()) return text;
  if (!text.empty()) text += ", ";
  return text + fmt::format("waiting for rank {} in {}", state.operation.peer, describe(state.operation));
}

}  // namespace

RankWatch::RankWatch(int rank, std::vector<std::string> hosts, const HeartbeatTimes& times)
    : rank_(rank), hosts_(std::move(hosts)), times_(times) {
  for (int other = 0; other < static_cast<int>(hosts_.size()); ++other)
    if (are_linked(rank, other)) watched_[other] = {};
}

double RankWatch::told_after() const { return kToldShare * times_.standstill; }

void RankWatch::heard(int rank, const RankState& state) {
  const auto watched = watched_.find(rank);
  if (watched != watched_.end()) watched->second = {.state = state};
}

void RankWatch::ended(int rank) { watched_.erase(rank); }

void RankWatch::ask() {
  for (auto& [rank, watched] : watched_) watched.asked = true;
}

std::vector<std::string> RankWatch::missing() const {
  std::vector<std::string> texts;
  for (const auto& [rank, watched] : watched_) {
    if (!watched.asked || (rank_ > 0 && rank > 0) || told_.contains({rank, Standstill::silent})) continue;
    const std::string known = last_known(watched.state);
    texts.push_back(fmt::format("{} gives no answer{}; has its process ended?", name_of(rank),
                                known.empty() ? "" : "; last known of it: " + known));
  }
  return texts;
}

Findings RankWatch::look(double passed, const RankState& mine) {
  mine_ = mine;
  for (auto& [rank, watched] : watched_) watched.silent += passed;
  Findings findings;
  tell_recovered(findings);
  const double after = told_after();
  const bool judges = rank_ == 0 || (rank_ == 1 && is_silent(0, after));
  if (hears_nobody(after)) {
    tell(kAllRanks, Standstill::hears_nobody, findings);
  } else if (const std::vector<int> silent = silent_ranks(after); !silent.empty()) {
    for (const int rank : silent) tell(rank, Standstill::silent, findings);
  } else if (judges && !is_any_late()) {
    const std::vector<int> idle = idle_ranks(after);
    for (const int rank : idle) tell(rank, Standstill::idle, findings);
    if (idle.empty() && all_idle(after)) tell(kAllRanks, Standstill::all_idle, findings);
  }
  findings.end = reason_to_end();
  return findings;
}

std::string RankWatch::name_of(int rank) const {
  return fmt::format("rank {} ({})", rank, hosts_[static_cast<std::size_t>(rank)]);
}

const RankState& RankWatch::state_of(int rank) const {
  const auto watched = watched_.find(rank);
  return watched == watched_.end() ? mine_ : watched->second.state;
}

bool RankWatch::is_silent(int rank, double seconds) const {
  const auto watched = watched_.find(rank);
  return watched != watched_.end() && watched->second.silent >= seconds;
}

/// Others may wait for a rank that is about to be found silent.
bool RankWatch::is_any_late() const {
  return std::ranges::any_of(watched_, [&](const auto& each) { return each.second.silent >= told_after() / 2; });
}

/// Of two ranks, each can say only that the other is silent.
bool RankWatch::hears_nobody(double seconds) const {
  return watched_.size() > 1 &&
         std::ranges::all_of(watched_, [&](const auto& each) { return each.second.silent >= seconds; });
}

/// That rank 1 is silent, rank 0 says for all.
bool RankWatch::speaks_of_silence(int rank) const {
  return rank_ == 0 || rank == 0 || (rank_ == 1 && is_silent(0, told_after()));
}

std::vector<int> RankWatch::silent_ranks(double seconds) const {
  std::vector<int> ranks;
  for (const auto& [rank, watched] : watched_)
    if (watched.silent >= seconds && speaks_of_silence(rank)) ranks.push_back(rank);
  return ranks;
}

/// That hold others up: idle, and not in a wait for other ranks. One that waits without an operation under way waits
/// for a thread of its own, or for a rank of its node. Those come first that the operations of others wait for.
std::vector<int> RankWatch::idle_ranks(double seconds) const {
  std::vector<int> blamed, idle;
  const auto add = [&](int rank, const RankState& state) {
    if (state.idle < seconds || (state.waits && state.operation.exists())) return;
    if (others_wait_for(rank)) {
      blamed.push_back(rank);
    } else if (!state.waits && others_wait(rank)) {
      idle.push_back(rank);
    }
  };
  add(rank_, mine_);
  for (const auto& [rank, watched] : watched_) add(rank, watched.state);
  return blamed.empty() ? idle : blamed;
}

bool RankWatch::others_wait(int rank) const {
  const auto waits = [&](const auto& each) { return each.first != rank && each.second.state.waits; };
  return (rank != rank_ && mine_.waits) || std::ranges::any_of(watched_, waits);
}

/// In an operation.
bool RankWatch::others_wait_for(int rank) const {
  const auto waits_for = [&](const RankState& state) {
    return state.operation.exists() && state.operation.peer == rank;
  };
  return waits_for(mine_) ||
         std::ranges::any_of(watched_, [&](const auto& each) { return waits_for(each.second.state); });
}

bool RankWatch::all_idle(double seconds) const {
  return !watched_.empty() && mine_.idle >= seconds &&
         std::ranges::all_of(watched_, [&](const auto& each) { return each.second.state.idle >= seconds; });
}

bool RankWatch::stands(int rank, Standstill how) const {
  const double after = told_after();
  switch (how) {
    case Standstill::silent:
      return is_silent(rank, after);
    case Standstill::idle:
      return state_of(rank).idle >= after;
    case Standstill::hears_nobody:
      return hears_nobody(after);
    case Standstill::all_idle:
      return all_idle(after);
  }
  return false;
}

std::string RankWatch::text_of(int rank, Standstill how, double seconds) const {
  const std::string time = format_seconds(seconds);
  const std::string known = last_known(rank == kAllRanks ? mine_ : state_of(rank));
  switch (how) {
    case Standstill::silent:
      return fmt::format("nothing has come from {} for {}{}; is its process stopped, or its host or network down?",
                         name_of(rank), time, known.empty() ? "" : "; last known of it: " + known);
    case Standstill::idle:
      return fmt::format(
          "{} has stood still for {}{}, and others wait for it; is its disk slow, or its memory swapped out?",
          name_of(rank), time, known.empty() ? "" : " in " + known);
    case Standstill::hears_nobody:
      return fmt::format("nothing has come from any rank that {} hears for {}; {}is the network of this host down?",
                         name_of(rank_), time, known.empty() ? "" : "it is at " + known + "; ");
    case Standstill::all_idle:
      return fmt::format("no rank has got on for {}: {}; is the network between them down?", time, describe_all());
  }
  return "";
}

std::string RankWatch::describe_all() const {
  std::vector<std::string> parts;
  const auto add = [&](int rank, const RankState& state) {
    const std::string known = last_known(state);
    parts.push_back(fmt::format("{}: {}", name_of(rank), known.empty() ? "unknown" : known));
  };
  add(rank_, mine_);
  for (const auto& [rank, watched] : watched_) add(rank, watched.state);
  const std::size_t more = parts.size() > kMostNamed ? parts.size() - kMostNamed : 0;
  parts.resize(parts.size() - more);
  return fmt::format("{}{}", fmt::join(parts, "; "), more == 0 ? "" : fmt::format("; and {} more", more));
}

void RankWatch::tell(int rank, Standstill how, Findings& findings) {
  if (told_.emplace(rank, how).second) findings.warnings.push_back(text_of(rank, how, told_after()));
}

void RankWatch::tell_recovered(Findings& findings) {
  for (auto told = told_.begin(); told != told_.end();) {
    const auto [rank, how] = *told;
    if (stands(rank, how)) {
      ++told;
      continue;
    }
    const bool gone = rank != kAllRanks && rank != rank_ && !watched_.contains(rank);
    if (!gone)
      findings.recovered.push_back(rank == kAllRanks ? "the ranks get on again" : name_of(rank) + " works again");
    told = told_.erase(told);
  }
}

std::string RankWatch::reason_to_end() const {
  if (times_.operation_limit <= 0) return "";
  const double due = times_.operation_limit + (rank_ == 0 ? 0 : rank_ == 1 ? kDeputyGrace : kOthersGrace);
  const auto reason = [&](int rank, Standstill how) {
    return text_of(rank, how, due) + " The run ends (--operation-limit)";
  };
  if (hears_nobody(due)) return reason(kAllRanks, Standstill::hears_nobody);
  if (const auto silent = silent_ranks(due); !silent.empty()) return reason(silent.front(), Standstill::silent);
  if (rank_ > 1 || is_any_late()) return "";
  if (const auto idle = idle_ranks(due); !idle.empty()) return reason(idle.front(), Standstill::idle);
  return all_idle(due) ? reason(kAllRanks, Standstill::all_idle) : "";
}

}  // namespace lshdp::comm
