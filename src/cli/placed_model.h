// Weights on ranks, whole on each or by a layout: what evaluation and generation run on.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "lshdp/cli/options.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/walker.h"
#include "lshdp/plan/layout.h"

namespace lshdp::cli {

/// The layout of the file `path`, by rank 0's word. Throws AgreedError: what read_layout() and require_fits() refuse,
/// and stages in another mode than ddp. All ranks must call it.
plan::Layout shared_layout(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                           const std::string& path);

/// All ranks must make and destroy it together.
class PlacedModel {
 public:
  /// `layout`: none: the model lies as the mode of `setup` has it. The weights are --init of `values`, with --adapter
  /// merged into them where it is given. What is given must outlive it. Throws AgreedError where they cannot be read.
  PlacedModel(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
              const std::optional<plan::Layout>& layout, const Values& values);

  parallel::BlockWalker& walker() { return *walker_; }
  /// Null without a layout.
  parallel::Pipeline* pipeline() { return pipeline_.get(); }

 private:
  std::shared_ptr<const parallel::Placement> placement_;
  std::unique_ptr<parallel::ParameterStore> store_;
  std::unique_ptr<parallel::BlockWalker> walker_;
  std::unique_ptr<parallel::Pipeline> pipeline_;
};

}  // namespace lshdp::cli
