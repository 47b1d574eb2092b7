// What a process notes of its work is what others read.
#include <gtest/gtest.h>

#include "lshdp/core/activity.h"

namespace lshdp {
namespace {

TEST(AnActivity, IsReadAsItWasNoted) {
  note_activity(Doing::forward, 17, 3);
  const Activity activity = current_activity();
  EXPECT_EQ(activity.doing, Doing::forward);
  EXPECT_EQ(activity.step, 17);
  EXPECT_EQ(activity.block, 3);
  EXPECT_EQ(describe(activity), "forward of block 3 of step 17");
}

TEST(AnActivity, KeepsItsStepAndForgetsItsBlock) {
  note_activity(Doing::backward, 999'999'999, 0);
  EXPECT_EQ(describe(current_activity()), "backward of block 0 of step 999999999");
  note_activity(Doing::saving);
  EXPECT_EQ(describe(current_activity()), "writing the checkpoint of step 999999999");
}

TEST(AnActivity, CountsWhatWasDone) {
  const std::uint64_t before = current_activity().changes;
  note_activity(Doing::reading_data, 2);
  count_activity();
  EXPECT_EQ(current_activity().changes, before + 2);
  EXPECT_EQ(describe(current_activity()), "reading data of step 2");
}

TEST(AnActivity, TellsWhatIsDoneBesideIt) {
  note_activity(Doing::waiting_for_parameters, 18, 0);
  {
    const BackgroundActivity saving(Doing::saving, 17);
    EXPECT_EQ(describe(current_activity()),
              "waiting for parameters of block 0 of step 18, beside writing the checkpoint of step 17");
  }
  EXPECT_EQ(describe(current_activity()), "waiting for parameters of block 0 of step 18");
}

TEST(AnActivity, OfWhichNothingIsKnownHasNoWords) { EXPECT_EQ(describe(Activity{}), ""); }

}  // namespace
}  // namespace lshdp
