// A model for tests of the measure floor that need blocks of some size.
#pragma once
#include "lshdp/model/model.h"

namespace lshdp::test {

/// 3.3 MB in ddp, at 16 bytes a parameter.
inline model::Model deeper_vit() {
  return model::make_model_from_json({{"type", "vit"},
                                      {"image_size", 16},
                                      {"channels", 1},
                                      {"patch_size", 4},
                                      {"num_layers", 6},
                                      {"num_heads", 2},
                                      {"hidden_dim", 64},
                                      {"mlp_dim", 128},
                                      {"num_classes", 10}},
                                     "deeper");
}

}  // namespace lshdp::test
