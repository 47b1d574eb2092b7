// A run from its request: sets ranks up, chooses the plan, trains.
#pragma once
#include <string>

#include <nlohmann/json.hpp>

#include "lshdp/comm/communicator.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/train/choose_plan.h"
#include "lshdp/train/trainer.h"

namespace lshdp::train {

struct LaunchRequest {
  measure::RankRequest ranks;
  std::string communicator = "auto";  // how devices exchange: measure::make_device_communicator()
  PlanRequest plan;
};

/// Trains as `request` and `options` say; what depends on the ranks (setup, plan, profile) is filled into `options`
/// here. Returns what train() returns. All ranks must call it; throws what set_up_rank(), choose_plan() and train()
/// throw.
nlohmann::json launch(comm::Communicator& world, const model::Model& model, const LaunchRequest& request,
                      TrainOptions options);

}  // namespace lshdp::train
