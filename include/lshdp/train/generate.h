// Sampling text from a GPT.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "lshdp/model/model.h"
#include "lshdp/parallel/walker.h"

namespace lshdp::train {

struct GenerateOptions {
  std::int64_t length = 256;  // tokens to sample
  double temperature = 1;     // 0: the most likely token always
  std::int64_t top_k = 0;     // sample among the k most likely; 0: among all
  std::int64_t tokens = 0;    // sample among the first so many: those that the tokenizer has; 0: among all
  std::uint64_t seed = 0;
};

/// Continues `prompt` (at least one token), handing each token to `emit` as it is drawn. The model sees at most its
/// context's last tokens. Throws UsageError: not a GPT, empty prompt, a token outside the vocabulary; RunError: outputs
/// that are not finite.
void generate(parallel::BlockWalker& walker, const model::Model& model, std::vector<std::int64_t> prompt,
              const GenerateOptions& options, const std::function<void(std::int64_t)>& emit);

}  // namespace lshdp::train
