// One token after the other: the last position's logits, tempered, cut, drawn from by the rank that has them.
#include "lshdp/train/generate.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"

namespace lshdp::train {
namespace {

void require_finite(const at::Tensor& logits, std::int64_t drawn) {
  if (at::isfinite(logits).all().item<bool>()) return;
  throw RunError(
      fmt::format("the model's outputs are not finite after {} tokens: its weights are damaged, or training "
                  "diverged",
                  drawn));
}

std::int64_t draw(at::Tensor logits, const GenerateOptions& options, at::Generator& generator) {
  if (options.temperature == 0) return logits.argmax().item<std::int64_t>();
  // The largest becomes 0, so that no temperature, however small, makes it infinite.
  logits = (logits - logits.max()) / options.temperature;
  if (options.top_k > 0 && options.top_k < logits.numel()) {
    const at::Tensor least = std::get<0>(logits.topk(options.top_k)).min();
    logits = logits.masked_fill(logits < least, -std::numeric_limits<double>::infinity());
  }
  return at::multinomial(at::softmax(logits, 0), 1, false, generator).item<std::int64_t>();
}

void check(const model::Model& model, const std::vector<std::int64_t>& prompt) {
  require_generates(model);
  if (prompt.empty()) throw UsageError("--prompt must hold at least one token");
  for (const std::int64_t token : prompt) {
    if (token >= 0 && token < model.input.vocabulary) continue;
    throw UsageError(
        fmt::format("--prompt: token {} is outside the model's vocabulary of {}", token, model.input.vocabulary));
  }
}

/// [1, T]: those that the model has not seen, or the whole of what it sees where that moved on.
at::Tensor unseen(const std::vector<std::int64_t>& tokens, std::int64_t seen, std::int64_t positions,
                  Decoder& decoder) {
  const auto all = static_cast<std::int64_t>(tokens.size());
  std::int64_t from = seen;
  if (all > positions) {
    decoder.begin();
    from = all - positions;
  }
  return at::tensor(at::ArrayRef<std::int64_t>(tokens.data() + from, static_cast<std::size_t>(all - from)), at::kLong)
      .unsqueeze(0);
}

}  // namespace

void require_generates(const model::Model& model) {
  if (model.input.kind != model::InputSpec::Kind::tokens) throw UsageError("only a GPT generates text");
  if (model.input.other_lengths) return;
  throw UsageError(
      fmt::format("{} was exported from PyTorch for sequences of {} tokens and generates nothing here; load "
                  "its weights into the PyTorch model",
                  model.name, model.input.context));
}

at::Tensor WholeDecoder::next(const at::Tensor& tokens) {
  return walker_.forward_next({0, model().blocks.size()}, tokens, caches_);
}

StagedDecoder::StagedDecoder(const model::Model& model, parallel::Pipeline& pipeline, comm::Communicator& communicator,
                             const plan::Layout& layout)
    : Decoder(model),
      pipeline_(pipeline),
      communicator_(communicator),
      last_(static_cast<int>(layout.replicas.front().stages.back().rank)) {}

at::Tensor StagedDecoder::next(const at::Tensor& tokens) { return pipeline_.forward_next(tokens, caches_); }

std::int64_t StagedDecoder::shared(std::int64_t drawn) {
  double token = static_cast<double>(drawn);  // far below 2^53
  communicator_.broadcast({&token, 1, comm::DataType::float64}, last_).wait();
  return static_cast<std::int64_t>(token);
}

GenerateTimes generate(Decoder& decoder, std::vector<std::int64_t> prompt, const GenerateOptions& options,
                       const std::function<void(std::int64_t)>& emit) {
  check(decoder.model(), prompt);
  at::Generator generator = at::detail::createCPUGenerator(options.seed);
  GenerateTimes times{.prompt_tokens = static_cast<std::int64_t>(prompt.size()), .tokens = options.length};
  double begun = now_seconds();
  decoder.begin();
  std::int64_t seen = 0;
  for (std::int64_t i = 0; i < options.length; ++i) {
    const at::Tensor logits = decoder.next(unseen(prompt, seen, decoder.model().input.positions, decoder));
    seen = static_cast<std::int64_t>(prompt.size());
    std::int64_t token = 0;
    if (logits.defined()) {
      const at::Tensor all = logits.flatten().cpu().to(at::kDouble);
      require_finite(all, i);
      const std::int64_t allowed = options.tokens > 0 ? std::min(options.tokens, all.numel()) : all.numel();
      token = draw(all.narrow(0, 0, allowed), options, generator);
    }
    prompt.push_back(decoder.shared(token));
    emit(prompt.back());
    if (i == 0) times.prompt_seconds = now_seconds() - std::exchange(begun, now_seconds());
  }
  times.seconds = now_seconds() - begun;
  return times;
}

}  // namespace lshdp::train
