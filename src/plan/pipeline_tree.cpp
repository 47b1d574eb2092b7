// Branch and bound, stage by stage from the begin of the model.
#include "pipeline_tree.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

namespace lshdp::plan {

PipelineTree::PipelineTree(const StageLoads& loads, const CutRules& rules, const std::vector<std::size_t>& ranks,
                           const std::vector<std::size_t>& kinds, bool all_ranks)
    : loads_(loads), rules_(rules), ranks_(ranks), kinds_(kinds), all_ranks_(all_ranks), used_(ranks.size(), false) {
  const BlockRange model{0, rules.blocks()};
  for (const std::size_t rank : ranks) speed_.push_back(1 / loads.work(rank, model));
  falling_.resize(ranks.size());
  std::iota(falling_.begin(), falling_.end(), std::size_t{0});
  std::ranges::stable_sort(falling_, std::greater{}, [&](std::size_t at) { return speed_[at]; });
  passing_ = 1;
  parts_before_.push_back(0);
  for (std::size_t block = 0; block < rules.blocks(); ++block) {
    double part = std::numeric_limits<double>::infinity();
    for (std::size_t at = 0; at < ranks.size(); ++at) {
      const BlockRange one{block, block + 1};
      const double seconds = loads.computing(ranks[at], one);
      part = std::min(part, speed_[at] * seconds);
      if (seconds > 0) passing_ = std::min(passing_, loads.passing(ranks[at], one) / seconds);
    }
    parts_before_.push_back(parts_before_.back() + part);
  }
  // With more, a stage could do better by leaving time to the ones behind it.
  if (passing_ * static_cast<double>(ranks.size() - 1) > 1) passing_ = 0;
}

bool PipelineTree::walk(double limit, std::int64_t& nodes, const Visit& visit) {
  limit_ = limit;
  nodes_ = &nodes;
  visit_ = &visit;
  complete_ = true;
  comes_back_ = false;
  end_ = rules_.blocks();
  place({});
  if (!rules_.comes_back()) return complete_;
  comes_back_ = true;
  for (std::size_t at = 0; at < ranks_.size(); ++at) {
    if (first_of_kind(at)) come_back(at);
  }
  return complete_;
}

/// Every first and last stage of a rank, and the chains between them.
void PipelineTree::come_back(std::size_t at) {
  const std::size_t rank = ranks_[at], blocks = rules_.blocks();
  used_[at] = true;
  for (std::size_t last = rules_.most_last_start(); last > rules_.least_first_end(); --last) {
    if (last != rules_.most_last_start() && !rules_.may_cut(last, true)) continue;
    const double work = loads_.work(rank, {last, blocks});
    if (work >= limit_) break;
    for (std::size_t first = rules_.least_first_end(); first < last; ++first) {
      if (!rules_.may_cut(first, true)) continue;
      if (work + loads_.work(rank, {0, first}) >= limit_) break;
      shape_ = {{rank}, {first}};
      end_ = last;
      place({first, loads_.first_forward(rank, {0, first}), loads_.last_backward(rank, {0, first})});
    }
  }
  used_[at] = false;
  shape_ = {};
}

/// A rank of this kind that comes before is free, and would do the same.
bool PipelineTree::first_of_kind(std::size_t at) const {
  for (std::size_t before = 0; before < at; ++before) {
    if (!used_[before] && kinds_[ranks_[before]] == kinds_[ranks_[at]]) return false;
  }
  return true;
}

/// Whether the free ranks together can do the rest of the chain within the limit. A stage leaves the next one less time
/// by what passes before and after it, so that n of them do most with the fastest one first.
bool PipelineTree::enough_left(const Chain& chain) const {
  double seconds = limit_ - chain.before - chain.after, parts = 0;
  for (const std::size_t at : falling_) {
    if (used_[at]) continue;
    parts += seconds * speed_[at];
    seconds *= 1 - passing_;
  }
  return parts >= (1 - 1e-9) * (parts_before_[end_] - parts_before_[chain.start]);
}

void PipelineTree::place(const Chain& chain) {
  if (!enough_left(chain)) return;
  for (std::size_t at = 0; at < ranks_.size() && complete_; ++at) {
    if (!used_[at] && first_of_kind(at)) place_on(at, chain);
  }
}

void PipelineTree::place_on(std::size_t at, const Chain& chain) {
  const std::size_t rank = ranks_[at];
  double before = chain.before, after = chain.after;
  if (!shape_.ranks.empty()) {
    before += loads_.first_send(shape_.ranks.back(), rank, chain.start);
    after += loads_.last_send(shape_.ranks.back(), rank, chain.start);
  }
  used_[at] = true;
  shape_.ranks.push_back(rank);
  shape_.ends.push_back(0);
  for (std::size_t end = chain.start + 1; end <= end_; ++end) {
    if (end < end_ && !rules_.may_cut(end, comes_back_)) continue;
    if (--*nodes_ < 0) complete_ = false;
    const BlockRange range{chain.start, end};
    if (!complete_ || before + loads_.work(rank, range) + after >= limit_) break;
    if (loads_.link(rank, range) >= limit_) continue;
    shape_.ends.back() = end;
    if (end == end_)
      finish();
    else
      place({end, before + loads_.first_forward(rank, range), after + loads_.last_backward(rank, range)});
  }
  shape_.ranks.pop_back();
  shape_.ends.pop_back();
  used_[at] = false;
}

void PipelineTree::finish() {
  const bool all = std::ranges::all_of(used_, [](bool used) { return used; });
  if (shape_.stages() < 2 || (all_ranks_ && !all)) return;
  PipelineShape whole = shape_;
  if (comes_back_) {
    whole.ranks.push_back(whole.ranks.front());
    whole.ends.push_back(rules_.blocks());
  }
  if (rules_.allows(whole) && least_seconds(loads_, whole) < limit_) limit_ = (*visit_)(whole);
}

}  // namespace lshdp::plan
