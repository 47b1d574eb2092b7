// What a step of a layout takes, from a profile: its time by simulation of the schedule, the memory of every stage.
#pragma once
#include <string>
#include <vector>

#include "lshdp/plan/layout.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// What the model of `profile` demands.
LayoutNeeds needs_of(const Profile& profile);

struct LayoutPrediction {
  Layout layout;                   // with in_flight, seconds and bytes of each stage, and `predicted`
  std::vector<double> idle_share;  // by rank of the profile, of the step; 1: it is left out
  std::string bound_by;            // for people: "compute of rank 3 (node3)", "the network"
};

/// The prediction for `layout`. Stages that state in_flight keep it; others get what the schedule has, as far as memory
/// allows. A data parallel layout is predicted as predict() does it (solver.h), of its ranks alone, with shards chosen
/// as solve() does. Model: docs/solver.md, "Layouts".
///
/// Throws UsageError beginning with `source`: what require_fits() refuses, a rank whose blocks were not timed because
/// the model does not fit it, a stage that does not fit (what it needs, and what would help), stages in another mode
/// than ddp.
LayoutPrediction predict_layout(const Profile& profile, const Layout& layout, const std::string& source);

}  // namespace lshdp::plan
