// Losses, counts of right answers, and batches without data.
#include <ATen/CPUGeneratorImpl.h>

#include "lshdp/model/model.h"

namespace lshdp::model {

at::Tensor summed_cross_entropy(const at::Tensor& logits, const at::Tensor& target, double label_smoothing) {
  const at::Tensor rows = logits.flatten(0, -2);
  const bool narrow = rows.scalar_type() == at::kBFloat16 || rows.scalar_type() == at::kHalf;
  return at::cross_entropy_loss(narrow ? rows.to(at::kFloat) : rows, target.flatten(), {}, at::Reduction::Sum,
                                kUntrainedTarget, label_smoothing);
}

std::int64_t count_terms(const at::Tensor& target) {
  return target.numel() - target.eq(kUntrainedTarget).sum().item<std::int64_t>();
}

std::int64_t correct_predictions(const at::Tensor& logits, const at::Tensor& target) {
  return logits.detach().argmax(-1).eq(target).sum().item<std::int64_t>();
}

namespace {

/// Of documents of four tokens on average.
at::Tensor drawn_positions(std::int64_t batch, std::int64_t context, at::Generator& random) {
  const at::Tensor index = at::arange(context, at::kLong);
  const at::Tensor begins = at::randint(4, {batch, context}, random, at::kLong).eq(0).to(at::kLong) * index;
  return index - std::get<0>(begins.cummax(1));
}

}  // namespace

SyntheticBatch synthetic_batch(const InputSpec& input, std::int64_t batch, std::uint64_t seed) {
  at::Generator random = at::detail::createCPUGenerator(seed);
  switch (input.kind) {
    case InputSpec::Kind::tokens: {
      SyntheticBatch made{at::randint(input.vocabulary, {batch, input.context}, random, at::kLong),
                          at::randint(input.vocabulary, {batch, input.context}, random, at::kLong)};
      if (input.documents) made.positions = drawn_positions(batch, input.context, random);
      return made;
    }
    case InputSpec::Kind::flat:
      return {at::randn({batch, input.input_size}, random, at::kFloat),
              at::randint(input.classes, {batch}, random, at::kLong)};
    case InputSpec::Kind::image:
      break;
  }
  return {at::randn({batch, input.channels, input.image_size, input.image_size}, random, at::kFloat),
          at::randint(input.classes, {batch}, random, at::kLong)};
}

}  // namespace lshdp::model
