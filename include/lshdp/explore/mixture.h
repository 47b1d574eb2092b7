// Layouts over a cluster of several types of devices: a type for each pipeline stage, or for each replica of the model.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lshdp/explore/hardware.h"
#include "lshdp/explore/memory.h"
#include "lshdp/explore/ranking.h"
#include "lshdp/explore/search_space.h"
#include "lshdp/explore/step_time.h"
#include "lshdp/explore/verdict.h"

namespace lshdp::explore {

/// What the devices of one type hold: whole stages, each as many layers as its devices are fast and have memory for; or
/// whole replicas of the model, each as many micro-batches of a step as its devices are fast.
enum class Spread : std::uint8_t { stages, replicas };
std::string_view name_of(Spread spread);

struct MixedLayout {
  Spread spread = Spread::stages;
  Layout layout = {};  // over all devices; layer_split and micro_batches() say nothing here
  // Of `stages`, by stage:
  std::vector<std::size_t> types = {};
  std::vector<std::int64_t> layers = {};
  // Of `replicas`, by type; some replicas of a type may do one micro-batch less:
  std::vector<std::int64_t> replicas = {}, micro_batches = {};
  /// Of `replicas`: each takes its micro-batches, of one sequence, as one of that many.
  bool at_once = false;
};

/// What the fullest device of one type holds.
struct TypeMemory {
  StageMemory worst = {};
  Verdict verdict = Verdict::does_not_fit;
};

struct MixedCandidate {
  MixedLayout layout = {};
  std::vector<TypeMemory> types = {};       // in the cluster's order
  StepTime time = {};                       // of `replicas`: what it is made of is of the type that takes longest
  Verdict verdict = Verdict::does_not_fit;  // of the type that fits worst
  double fullest = 0;                       // largest share of a device's memory, with its margin
};

struct MixedFound {
  std::int64_t valid = 0, fits = 0, tight = 0;
  std::map<std::string, std::int64_t> refused = {};  // combinations by reason
  /// The first `top` of those that fit or are tight, or of all where none does.
  std::vector<MixedCandidate> top = {};
};

/// Tries every combination of `space` but its numbers of devices, PP of `stages`, interleaving and layer splits: all
/// devices of the cluster work, and without interleaving.
///
/// Stages: DP is any number by which each type's devices can be divided; PP is what they then make, up to the largest
/// of the space. Types stand along the pipeline in every order. Layers are dealt out one by one to the stage that would
/// take least time with one more, embedding and head counted, as long as its memory lasts; where all memory is full,
/// without regard to it.
///
/// Replicas: TP x PP x CP devices of one type each, layers cut evenly or balanced. Micro-batches are dealt out to the
/// type that would end first with one more for each of its replicas. Ranks of all types share out what sharding shares
/// out, in equal parts; the exchange begins with the slowest. Replicas of one stage whose layers a profile timed take
/// their share of a step at once where micro-batch 1 is tried, as lshdp trains: shares are dealt out by the times of
/// micro-batches of their size.
MixedFound search_mixed(const Model& model, const Trainer& trainer, const SearchSpace& space, const Cluster& cluster,
                        RankBy by, std::size_t top, const Efficiency& efficiency = {});

}  // namespace lshdp::explore
