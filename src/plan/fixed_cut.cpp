// Blocks are handed out one by one to whoever has fewest for its weight.
#include "fixed_cut.h"

#include <numeric>

namespace lshdp::plan {

PipelineShape cut_in_proportion(const std::vector<std::size_t>& ranks, const std::vector<double>& weights,
                                const CutRules& rules, bool comes_back) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  const std::size_t at_end = comes_back ? rules.blocks() - rules.most_last_start() : 0;
  std::vector<std::size_t> counts(ranks.size(), 1);
  if (comes_back) counts.front() = at_end + rules.least_first_end();
  for (std::size_t left = rules.blocks() - std::accumulate(counts.begin(), counts.end(), std::size_t{0}); left > 0;
       --left) {
    std::size_t next = 0;
    double most_missing = -static_cast<double>(rules.blocks());
    for (std::size_t at = 0; at < ranks.size(); ++at) {
      const double missing = weights[at] / sum * static_cast<double>(rules.blocks()) - static_cast<double>(counts[at]);
      if (missing > most_missing + 1e-9) {
        most_missing = missing;
        next = at;
      }
    }
    ++counts[next];
  }
  counts.front() -= at_end;
  PipelineShape shape{ranks, {}};
  std::size_t end = 0;
  for (const std::size_t count : counts) shape.ends.push_back(end += count);
  if (!comes_back) return shape;
  shape.ranks.push_back(ranks.front());
  shape.ends.push_back(rules.blocks());
  return shape;
}

}  // namespace lshdp::plan
