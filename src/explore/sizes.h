// The sizes that formulas of a layer are written in.
#pragma once
#include <cstdint>

#include "lshdp/explore/layout.h"

namespace lshdp::explore {

inline double number(std::int64_t value) { return static_cast<double>(value); }

struct Sizes {
  Sizes(const Model& model, const Trainer& trainer, const Layout& layout)
      : element(bytes_of(trainer.param_dtype)),
        t(number(layout.tensor)),
        // What is not cut over TP is cut by sequence parallelism (arXiv 2205.05198, section 4.2.2).
        u(layout.sequence_parallel ? t : 1),
        sequence(number(model.seq_length)),
        tokens(sequence / number(layout.context) * number(layout.micro_batch)),
        h(number(model.hidden_size)),
        heads(number(model.num_attention_heads)) {}
  double element;  // bytes
  double t, u;
  double sequence;  // tokens that each token may attend to
  double tokens;    // of a micro-batch, on this context parallel rank
  double h, heads;
};

/// Width of queries, keys, values, and the attention's output, of all heads.
struct AttentionWidths {
  double query = 0, key = 0, value = 0, output = 0;
  double compressed = 0;  // latent attention: compressed vectors, before and after their norms
};
AttentionWidths attention_widths(const Model& model);

/// Tokens that come to this device's experts, over its own tokens: each goes to k experts, and where experts are spread
/// over devices the busiest gets more than the mean.
double dispatched_tokens(const Model& model, const Layout& layout);

}  // namespace lshdp::explore
