// Judges memory against a device.
#include "lshdp/explore/verdict.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "lshdp/core/text.h"

namespace lshdp::explore {
namespace {

/// A change of a layout and how it is called.
struct Change {
  std::string name;
  std::function<void(Layout&)> make;
};

/// Buffers beside what is in host memory: DeepSpeed's memory estimators take half as much again
/// (additional_buffer_factor, deepspeed.readthedocs.io, "Memory Requirements").
constexpr double kHostBuffers = 0.5;

double node_host_of(const Memory& memory, const Layout& layout, const Cluster& cluster) {
  std::vector<double> by_stage;
  for (const StageMemory& stage : memory.stages) by_stage.push_back(stage.host);
  return node_host_bytes(by_stage, layout, cluster.devices_per_node);
}

bool fits(const Model& model, const Trainer& trainer, const Layout& layout, const Device& device,
          const Cluster* cluster) {
  if (refusal_of(model, layout)) return false;
  const Memory memory = estimate(model, trainer, layout);
  if (verdict(memory.worst_stage(), device) != Verdict::fits) return false;
  // What is not known stands in nobody's way.
  return cluster == nullptr || cluster->host_memory_bytes == 0 ||
         host_verdict(layout, node_host_of(memory, layout, *cluster), cluster) == Verdict::fits;
}

/// Changes that need no more devices, the ones that cost the least time first.
std::vector<Change> changes_within(const Layout& layout) {
  std::vector<Change> changes;
  if (layout.tensor > 1 && !layout.sequence_parallel)
    changes.push_back({"sequence parallelism", [](Layout& changed) { changed.sequence_parallel = true; }});
  for (const Sharding sharding : kShardings) {
    if (sharding > layout.sharding && layout.data() > 1)
      changes.push_back({std::string(name_of(sharding)), [=](Layout& changed) { changed.sharding = sharding; }});
  }
  for (const Recompute recompute : kRecomputes) {
    if (recompute > layout.recompute)
      changes.push_back({fmt::format("recomputation {}", name_of(recompute)),
                         [=](Layout& changed) { changed.recompute = recompute; }});
  }
  if (layout.offload == Offload::optimizer)
    changes.push_back({"offload parameters", [](Layout& changed) { changed.offload = Offload::parameters; }});
  if (layout.micro_batch > 1) changes.push_back({"micro-batch 1", [](Layout& changed) { changed.micro_batch = 1; }});
  return changes;
}

/// The model over 2 to 64 times as many devices, at the cost of data parallel ranks where there are enough.
std::vector<Change> changes_of_size(const Layout& layout) {
  std::vector<Change> changes;
  const std::pair<const char*, std::int64_t Layout::*> sizes[] = {
      {"TP", &Layout::tensor}, {"PP", &Layout::pipeline}, {"CP", &Layout::context}};
  for (const auto& [name, size] : sizes) {
    for (std::int64_t factor = 2; factor <= 64; factor *= 2) {
      const std::int64_t devices = layout.data() % factor == 0 ? layout.devices : factor * layout.devices;
      const std::string where = devices == layout.devices ? "" : fmt::format(" on {} devices", format_count(devices));
      changes.push_back({fmt::format("{} {} in place of {}{}", name, factor * layout.*size, layout.*size, where),
                         [=, member = size](Layout& changed) {
                           changed.*member *= factor;
                           changed.devices = devices;
                         }});
    }
  }
  return changes;
}

/// `layout` with changes, and how they are called together.
struct Changed {
  explicit Changed(const Layout& from) : layout(from) {}
  Changed with(const Change& change) const {
    Changed result = *this;
    change.make(result.layout);
    result.name += (name.empty() ? "" : " and ") + change.name;
    return result;
  }
  Layout layout;
  std::string name = {};
};

/// The last of each kind of `changes`, which frees the most.
Changed all_of(const Layout& layout, const std::vector<Change>& changes) {
  Changed all(layout);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Layout alone = layout, next = layout;
    changes[i].make(alone);
    if (i + 1 < changes.size()) changes[i + 1].make(next);
    const bool last_of_kind = (alone.sharding == layout.sharding || next.sharding == layout.sharding) &&
                              (alone.recompute == layout.recompute || next.recompute == layout.recompute);
    if (last_of_kind) all = all.with(changes[i]);
  }
  return all;
}

/// In the order in which they are to be tried.
std::vector<Changed> ways_out(const Layout& layout) {
  const std::vector<Change> within = changes_within(layout), sizes = changes_of_size(layout);
  const Changed as_is(layout), all = all_of(layout, within);
  std::vector<Changed> ways;
  for (const Change& one : within) ways.push_back(as_is.with(one));
  for (std::size_t i = 0; i < within.size(); ++i) {
    for (std::size_t j = i + 1; j < within.size(); ++j) ways.push_back(as_is.with(within[i]).with(within[j]));
  }
  ways.push_back(all);
  for (const Change& one : sizes) ways.push_back(as_is.with(one));
  for (const Change& one : sizes) ways.push_back(all.with(one));
  return ways;
}

}  // namespace

Verdict verdict(const StageMemory& worst, const Device& device) {
  const auto memory = static_cast<double>(device.memory_bytes);
  if (worst.total_with_margin() <= memory) return Verdict::fits;
  return worst.total() <= memory ? Verdict::tight : Verdict::does_not_fit;
}

Verdict host_verdict(const Layout& layout, double node_host, const Cluster* cluster) {
  if (layout.offload == Offload::none) return Verdict::fits;
  if (cluster == nullptr || cluster->host_memory_bytes == 0) return Verdict::host_unknown;
  const auto memory = static_cast<double>(cluster->host_memory_bytes);
  if (node_host * (1 + kHostBuffers) <= memory) return Verdict::fits;
  return node_host <= memory ? Verdict::tight : Verdict::does_not_fit;
}

Verdict verdict(const Settings& settings, const Candidate& candidate) {
  const Cluster* cluster = settings.cluster ? &*settings.cluster : nullptr;
  return std::max(verdict(candidate.worst, *settings.device),
                  host_verdict(candidate.layout, candidate.node_host, cluster));
}

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::fits:
      return "fits";
    case Verdict::tight:
      return "tight";
    case Verdict::host_unknown:
      return "host memory is not known";
    case Verdict::does_not_fit:
      break;
  }
  return "does not fit";
}

std::string what_would_fit(const Model& model, const Trainer& trainer, const Layout& layout, const Device& device,
                           const Cluster* cluster) {
  if (layout.offload != Offload::none && fits(model, trainer, layout, device, cluster))
    return "host memory, to be given as cluster.host_memory";
  for (const Changed& way : ways_out(layout)) {
    if (fits(model, trainer, way.layout, device, cluster)) return way.name;
  }
  const Memory memory = estimate(model, trainer, layout);
  const double total = memory.worst_stage().total_with_margin();
  if (total <= static_cast<double>(device.memory_bytes) && cluster != nullptr)
    return fmt::format(
        "no single change: it takes {:.1f} times a node's host memory",
        (1 + kHostBuffers) * node_host_of(memory, layout, *cluster) / static_cast<double>(cluster->host_memory_bytes));
  return fmt::format("no single change: it takes {:.1f} times the memory",
                     total / static_cast<double>(device.memory_bytes));
}

}  // namespace lshdp::explore
