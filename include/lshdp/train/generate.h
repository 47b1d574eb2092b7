// Sampling text from a GPT.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/walker.h"

namespace lshdp::train {

/// A model that is asked for one token after the other, with what each block keeps of those before.
class Decoder {
 public:
  explicit Decoder(const model::Model& model) : model_(model) { begin(); }
  virtual ~Decoder() = default;
  const model::Model& model() const { return model_; }
  /// Forgets all tokens.
  void begin() { caches_.assign(model_.blocks.size(), {}); }
  /// Logits [1, 1, V] of what follows `tokens` [1, T], which follow those since begin(), the model's context at most in
  /// all. Undefined on ranks that do not hold the end of the model. All ranks must call it.
  virtual at::Tensor next(const at::Tensor& tokens) = 0;
  /// The token that the rank with the logits has drawn, on every rank. All ranks must call it.
  virtual std::int64_t shared(std::int64_t drawn) = 0;

 protected:
  std::vector<model::BlockCache> caches_;  // by block

 private:
  const model::Model& model_;
};

/// On one process.
class WholeDecoder final : public Decoder {
 public:
  /// `walker` must outlive it.
  WholeDecoder(const model::Model& model, parallel::BlockWalker& walker) : Decoder(model), walker_(walker) {}
  at::Tensor next(const at::Tensor& tokens) override;
  std::int64_t shared(std::int64_t drawn) override { return drawn; }

 private:
  parallel::BlockWalker& walker_;
};

/// Over the stages of a layout of one replica.
class StagedDecoder final : public Decoder {
 public:
  /// What is given must outlive it.
  StagedDecoder(const model::Model& model, parallel::Pipeline& pipeline, comm::Communicator& communicator,
                const plan::Layout& layout);
  at::Tensor next(const at::Tensor& tokens) override;
  std::int64_t shared(std::int64_t drawn) override;

 private:
  parallel::Pipeline& pipeline_;
  comm::Communicator& communicator_;
  int last_;  // the rank of the last stage
};

/// Throws UsageError if the model generates no text here.
void require_generates(const model::Model& model);

struct GenerateOptions {
  std::int64_t length = 256;  // tokens to sample
  double temperature = 1;     // 0: the most likely token always
  std::int64_t top_k = 0;     // sample among the k most likely; 0: among all
  std::int64_t tokens = 0;    // sample among the first so many: those that the tokenizer has; 0: among all
  std::uint64_t seed = 0;
};

/// How long it took, in seconds: the prompt with the first token, then the other tokens.
struct GenerateTimes {
  std::int64_t prompt_tokens = 0, tokens = 0;
  double prompt_seconds = 0, seconds = 0;
};

/// Continues `prompt` (at least one token), handing each token to `emit` as it is drawn, on every rank. The model sees
/// at most its context's last tokens; beyond its context each token runs the whole context again, because every
/// position changes. All ranks of the decoder must call it with the same arguments. Throws UsageError: not a GPT, empty
/// prompt, a token outside the vocabulary; RunError: outputs that are not finite.
GenerateTimes generate(Decoder& decoder, std::vector<std::int64_t> prompt, const GenerateOptions& options,
                       const std::function<void(std::int64_t)>& emit);

}  // namespace lshdp::train
