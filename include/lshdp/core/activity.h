// What this process is doing, so that other ranks can say what it was at when it stands still.
#pragma once
#include <cstdint>
#include <string>

namespace lshdp {

enum class Doing : std::uint8_t {
  unknown,
  starting,
  measuring,
  reading_data,
  forward,
  backward,
  waiting_for_parameters,  // of other ranks, before a block
  ending_step,
  evaluating,
  saving,         // a checkpoint
  finishing,      // weights and summary
  moving_blocks,  // to other ranks
};

/// What the thread that trains is at.
struct Activity {
  Doing doing = Doing::unknown;
  std::int32_t block = -1;  // counted from 0; -1: none in particular
  std::int64_t step = 0;    // counted from 1; 0: none in particular
  // What another thread does meanwhile; unknown: nothing that is noted.
  Doing beside = Doing::unknown;
  std::int64_t step_beside = 0;
  std::uint64_t changes = 0;  // how often anything was noted or counted so far
};

inline constexpr std::int64_t kSameStep = -1;

/// From now on the process is doing this; two stores. `step`: kSameStep keeps the one noted last. For the thread that
/// trains.
void note_activity(Doing doing, std::int64_t step = kSameStep, std::int32_t block = -1);
/// Something was done: the process does not stand still. Any thread.
void count_activity();
/// As noted last; any thread.
Activity current_activity();

/// Says, as long as it lives, that another thread than the one that trains does this. One at a time.
class BackgroundActivity {
 public:
  BackgroundActivity(Doing doing, std::int64_t step);
  ~BackgroundActivity();
  BackgroundActivity(const BackgroundActivity&) = delete;
  BackgroundActivity& operator=(const BackgroundActivity&) = delete;
};

/// "forward of block 3 of step 17", "reading data of step 17"; empty if nothing is known.
std::string describe(const Activity& activity);

}  // namespace lshdp
