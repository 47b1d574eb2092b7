// One token after the other: the last position's logits, tempered, cut, drawn from.
#include "lshdp/train/generate.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

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
  if (model.input.kind != model::InputSpec::Kind::tokens) throw UsageError("only a GPT generates text");
  if (prompt.empty()) throw UsageError("--prompt must hold at least one token");
  for (const std::int64_t token : prompt) {
    if (token >= 0 && token < model.input.vocabulary) continue;
    throw UsageError(
        fmt::format("--prompt: token {} is outside the model's vocabulary of {}", token, model.input.vocabulary));
  }
}

}  // namespace

void generate(parallel::BlockWalker& walker, const model::Model& model, std::vector<std::int64_t> prompt,
              const GenerateOptions& options, const std::function<void(std::int64_t)>& emit) {
  check(model, prompt);
  at::Generator generator = at::detail::createCPUGenerator(options.seed);
  for (std::int64_t i = 0; i < options.length; ++i) {
    const auto seen = std::min<std::int64_t>(static_cast<std::int64_t>(prompt.size()), model.input.context);
    const at::Tensor input = at::tensor(
        at::ArrayRef<std::int64_t>(prompt.data() + prompt.size() - seen, static_cast<std::size_t>(seen)), at::kLong);
    const at::Tensor all = walker.forward(input.unsqueeze(0)).select(0, 0).select(0, seen - 1).to(at::kDouble);
    require_finite(all, i);
    const std::int64_t allowed = options.tokens > 0 ? std::min(options.tokens, all.numel()) : all.numel();
    prompt.push_back(draw(all.narrow(0, 0, allowed), options, generator));
    emit(prompt.back());
  }
}

}  // namespace lshdp::train
