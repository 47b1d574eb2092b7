// Notes under a lock.
#include "engine_group.h"

#include <fmt/format.h>

namespace lshdp::comm {
namespace {

// Stores number what travels for bucket b 2b and 2b + 1 (parallel/), and messages between stages from here on.
constexpr int kFirstStageTag = 500'000;

}  // namespace

WaitingOperation waiting_operation(std::string_view kind, int tag, int peer) {
  WaitingOperation operation{.tag = tag, .peer = peer};
  kind.copy(operation.kind.data(), operation.kind.size() - 1);
  return operation;
}

std::string describe(const WaitingOperation& operation) {
  const std::string kind = operation.kind.data();
  const bool of_bucket = kind == "reduce-scatter" || kind == "all-gather";
  if (operation.tag >= kFirstStageTag) return fmt::format("{} between stages", kind);
  return of_bucket && operation.tag >= 0 ? fmt::format("{} of bucket {}", kind, operation.tag / 2) : kind;
}

void EngineGroup::note(const void* engine, const WaitingOperation& operation) {
  const std::lock_guard lock(mutex_);
  if (operation.exists()) {
    waiting_[engine] = operation;
  } else {
    waiting_.erase(engine);
  }
}

WaitingOperation EngineGroup::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() ? WaitingOperation{} : waiting_.begin()->second;
}

void EngineGroup::end(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (ended_) return;
  why_ = why;
  ended_ = true;
}

std::string EngineGroup::why() const {
  const std::lock_guard lock(mutex_);
  return why_;
}

}  // namespace lshdp::comm
