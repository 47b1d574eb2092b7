// Seconds that one micro-batch takes on one device, by the parts of a transformer.
#pragma once
#include "lshdp/explore/hardware.h"
#include "lshdp/explore/layout.h"

namespace lshdp::explore {

/// Seconds of one pass: computing, and collectives of TP, CP and EP that computing does not hide.
struct Pass {
  double compute = 0, exchange = 0;
  double seconds() const { return compute + exchange; }
  Pass& operator+=(const Pass& other) {
    compute += other.compute;
    exchange += other.exchange;
    return *this;
  }
};
inline Pass operator*(double times, const Pass& pass) { return {times * pass.compute, times * pass.exchange}; }

/// Backward begins with what the layout's recomputation asks for.
struct PassTimes {
  Pass forward, backward;
};

struct MicroBatchTimes {
  PassTimes dense_layer, expert_layer, embedding, head;
  /// What a stage gives to the next one, and gets back as a gradient: TP ranks send a part each, and put them together
  /// behind it (arXiv 2104.04473, section 4.1).
  double message_bytes = 0;
  double message_gather = 0;  // seconds
};

/// Each kernel takes the longer of its operations at the peak's share and of its bytes at the memory's (roofline:
/// Williams et al., "Roofline: an insightful visual performance model for multicore architectures", 2009). A forward of
/// an m x k and k x n product is 2 m n k operations, backward twice as many: gradients of its input and of its weights.
///
/// Flash attention leaves out what causal attention does not need, and computes backward in 5 products in place of 2
/// (arXiv 2205.14135, appendix B); standard attention computes all of it and moves the scores through memory.
/// Recomputation repeats the forward of the attention's core, or of the layer with its collectives. A pass takes at
/// least as long as it takes to launch its kernels.
///
/// Collectives that computing waits for, one way; backward has the same again: TP sums a layer's two outputs, which
/// with sequence parallelism is a gather and a scatter of the same bytes (arXiv 2205.05198, section 4.2.2; its third
/// gather in backward is hidden behind the gradient of the weights). EP sends tokens to their experts and back (arXiv
/// 2006.16668, section 3.2). CP passes keys and values round a ring behind the attention of those before; backward
/// passes their gradients as well (arXiv 2310.01889): what is longer than the attention's part counts.
///
/// Where a profile timed the layers of this model, these times stand in place of the computed ones: forward and
/// backward as measured on one device, changed in proportion to the computed ones where TP, CP or EP cut them.
MicroBatchTimes micro_batch_times(const Model& model, const Trainer& trainer, const Hardware& hardware,
                                  const Layout& layout);

/// The share of its peak that a device reaches in a product of an m x k and a k x n matrix.
double matmul_share(const Hardware& hardware, double m, double n, double k);

}  // namespace lshdp::explore
