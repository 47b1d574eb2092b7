// An activity packed into one atomic number, and a count.
#include "lshdp/core/activity.h"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

namespace lshdp {
namespace {

// Of the process, as its signals are: whoever works in it notes here, and the engine's thread reads.
// From the highest bit: 8 bits of Doing, 16 of the block plus 1, 40 of the step.
std::atomic<std::uint64_t> noted = 0;
std::atomic<std::uint64_t> changes = 0;
std::atomic<std::uint64_t> in_background = 0;  // packed like it

constexpr int kStepBits = 40, kBlockBits = 16;
constexpr std::uint64_t kStepMask = (std::uint64_t{1} << kStepBits) - 1;
constexpr std::uint64_t kBlockMask = (std::uint64_t{1} << kBlockBits) - 1;

std::uint64_t packed(Doing doing, std::int64_t step, std::int32_t block) {
  const std::uint64_t of_block = static_cast<std::uint64_t>(std::max(block, -1) + 1) & kBlockMask;
  return static_cast<std::uint64_t>(doing) << (kStepBits + kBlockBits) | of_block << kStepBits |
         (static_cast<std::uint64_t>(step) & kStepMask);
}

Doing doing_of(std::uint64_t packed) { return static_cast<Doing>(packed >> (kStepBits + kBlockBits)); }
std::int64_t step_of(std::uint64_t packed) { return static_cast<std::int64_t>(packed & kStepMask); }

const char* words_of(Doing doing) {
  switch (doing) {
    case Doing::unknown:
      return "";
    case Doing::starting:
      return "starting";
    case Doing::measuring:
      return "measuring";
    case Doing::reading_data:
      return "reading data";
    case Doing::forward:
      return "forward";
    case Doing::backward:
      return "backward";
    case Doing::waiting_for_parameters:
      return "waiting for parameters";
    case Doing::ending_step:
      return "exchanging the figures";
    case Doing::evaluating:
      return "evaluating";
    case Doing::saving:
      return "writing the checkpoint";
    case Doing::finishing:
      return "finishing";
    case Doing::moving_blocks:
      return "moving blocks";
  }
  return "";
}

}  // namespace

void note_activity(Doing doing, std::int64_t step, std::int32_t block) {
  noted.store(packed(doing, step == kSameStep ? step_of(noted.load(std::memory_order_relaxed)) : step, block),
              std::memory_order_relaxed);
  count_activity();
}

void count_activity() { changes.fetch_add(1, std::memory_order_relaxed); }

Activity current_activity() {
  const std::uint64_t now = noted.load(std::memory_order_relaxed);
  const std::uint64_t beside = in_background.load(std::memory_order_relaxed);
  return {.doing = doing_of(now),
          .block = static_cast<std::int32_t>(now >> kStepBits & kBlockMask) - 1,
          .step = step_of(now),
          .beside = doing_of(beside),
          .step_beside = step_of(beside),
          .changes = changes.load(std::memory_order_relaxed)};
}

BackgroundActivity::BackgroundActivity(Doing doing, std::int64_t step) {
  in_background.store(packed(doing, step, -1), std::memory_order_relaxed);
  count_activity();
}

BackgroundActivity::~BackgroundActivity() {
  in_background.store(0, std::memory_order_relaxed);
  count_activity();
}

std::string describe(const Activity& activity) {
  std::string text = words_of(activity.doing);
  if (text.empty()) return text;
  if (activity.block >= 0) text += fmt::format(" of block {}", activity.block);
  if (activity.step > 0) text += fmt::format(" of step {}", activity.step);
  if (activity.beside != Doing::unknown)
    text += fmt::format(", beside {} of step {}", words_of(activity.beside), activity.step_beside);
  return text;
}

}  // namespace lshdp
