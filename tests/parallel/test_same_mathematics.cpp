// Invariant 1: in every mode, training on several ranks is the training of one process with the whole batch.
#include <array>
#include <map>
#include <tuple>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "difference.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/cuda.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"
#include "support/detached_device.h"
#include "support/host_group.h"

namespace lshdp::parallel {
namespace {

constexpr int kSteps = 20;
constexpr std::int64_t kBatch = 12;
constexpr std::array<std::int64_t, 4> kOneOwnsNothing{1, 3, 0, 2};  // weights of shards

/// What ranks compute on. Mixed: ranks of odd number apart, the others on the host. Grouped: apart, over a communicator
/// between devices, in groups of two.
enum class Where { host, apart, mixed, grouped, cuda };

struct Way {
  const char* name;
  Mode mode;
  bool offload = false;
  bool recompute = false;
  bool weighted = false;  // shards of unequal size
  std::size_t resident = 0;
  int nodes = 0;       // rank r on node r % nodes; 0: one node
  bool table = false;  // a bucket for each block, and one for the table that rows are looked up in
  Where where = Where::host;
  bool offload_activations = false;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

struct Split {
  const char* name;
  bool uneven;
  std::int64_t micro_batch;  // largest; 0: no accumulation
  double clip;
  bool partial;  // every fifth step has fewer samples, as the last of an epoch
};

void PrintTo(const Split& split, std::ostream* out) { *out << split.name; }

/// Samples of `rank` in a step of `count`: all equal, or growing with the rank, the first rank getting none.
std::pair<std::int64_t, std::int64_t> slice(std::int64_t count, int rank, int ranks, bool uneven) {
  const auto border = [&](int r) {
    return uneven && ranks > 1 ? count * r * (r - 1) / (ranks * (ranks - 1)) : count * r / ranks;
  };
  return {border(rank), border(rank + 1)};
}

StoreOptions store_options(const Way& way, Precision precision, int ranks) {
  StoreOptions options{.strategy = {.mode = way.mode, .offload = way.offload, .precision = precision},
                       .bucket_bytes = 4096};
  for (int rank = 0; way.weighted && rank < ranks; ++rank)
    options.shard_weights.push_back(way.mode == Mode::ddp ? kOneOwnsNothing[rank % 4] : 3 * rank + 1);
  options.strategy.resident = way.resident;
  if (way.table) options.bucket_bytes = options.table_bytes = 0;
  for (int rank = 0; way.nodes > 0 && rank < ranks; ++rank)
    options.node_names.push_back(std::to_string(rank % way.nodes));
  return options;
}

std::shared_ptr<ComputeDevice> device_of(Where where, int rank) {
  if (where == Where::cuda) return make_cuda_device(rank % cuda_device_count());
  const bool apart = where == Where::apart || where == Where::grouped || (where == Where::mixed && rank % 2 == 1);
  return apart ? std::make_shared<test::DetachedDevice>() : make_host_device();
}

std::vector<std::int64_t> micro_batches(const Split& split, std::pair<std::int64_t, std::int64_t> slice) {
  return test::micro_batches_of(slice.second - slice.first, split.micro_batch > 0 ? split.micro_batch : kBatch);
}

/// Null: over `world` itself.
std::unique_ptr<comm::Communicator> between_devices(comm::Communicator& world, Where where, ComputeDevice& device) {
  if (where != Where::grouped) return nullptr;
  std::vector<std::string> names;
  for (int rank = 0; rank < world.size(); ++rank)
    names.push_back(world.size() % 2 == 0 ? std::to_string(rank / 2) : "all");
  return comm::make_device_communicator(world, names, test::host_group(world, names), device);
}

model::Values train(const model::Model& model, comm::Communicator& world, Precision precision, const Split& split,
                    const Way& way) {
  const int ranks = world.size();
  StoreOptions options = store_options(way, precision, ranks);
  options.device = device_of(way.where, world.rank());
  const auto over = between_devices(world, way.where, *options.device);
  comm::Communicator& communicator = over ? *over : world;
  const auto store = make_store(model, communicator, options);
  store->set_values(model::initial_values(model, 5));
  BlockWalker walker(model, *store,
                     {.precision = precision,
                      .recompute = way.recompute,
                      .offload_activations = way.offload_activations,
                      .seed = 3,
                      .device = options.device});
  for (int step = 1; step <= kSteps; ++step) {
    const std::int64_t count = split.partial && step % 5 == 0 ? kBatch / 2 + 1 : kBatch;
    const model::SyntheticBatch batch =
        model::synthetic_batch(model.input, count, 100 + static_cast<std::uint64_t>(step));
    std::int64_t passes = 1;
    for (int rank = 0; rank < ranks; ++rank)
      passes = std::max(passes, std::ssize(micro_batches(split, slice(count, rank, ranks, split.uneven))));
    const auto [begin, end] = slice(count, communicator.rank(), ranks, split.uneven);
    walker.train_step({.step = step,
                       .learning_rate = 1e-3,
                       .global_terms = count * model.terms_per_sample(),
                       .clip_norm = split.clip,
                       .passes = passes},
                      batch.input.narrow(0, begin, end - begin), batch.target.narrow(0, begin, end - begin),
                      micro_batches(split, {begin, end}), begin, model::part_of(batch.positions, begin, end - begin));
  }
  store->synchronize();
  return store->gather_values();
}

class SameMathematics : public test::RankSuite<testing::TestWithParam<std::tuple<model::Model (*)(), Split, Way>>> {
 protected:
  void SetUp() override {
    if (std::get<Way>(GetParam()).where == Where::cuda && cuda_device_count() == 0)
      GTEST_SKIP() << "no CUDA device here, or none in this build";
  }
  /// What one process with the whole batch comes to; computed once for all ways and splits.
  static const model::Values& alone(model::Model (*make)(), Precision precision, const Split& split) {
    const auto [known, fresh] = alone_.try_emplace({make, precision, split.clip, split.partial});
    if (fresh) {
      known->second = train(make(), *comm::make_null_communicator(0, 1), precision,
                            {"", false, 0, split.clip, split.partial}, {"alone", Mode::ddp, false, false, false});
    }
    return known->second;
  }

 private:
  static inline std::map<std::tuple<model::Model (*)(), Precision, double, bool>, model::Values> alone_;
};

/// For what processors compute in single precision by other loops: one split of each way that has it all.
class SameMathematicsRounded : public SameMathematics {};

TEST_P(SameMathematics, InDoublePrecisionToOnePartInABillionPerTensor) {
  const auto& [make, split, way] = GetParam();
  const model::Values together = train(make(), *communicator_, Precision::fp64, split, way);
  EXPECT_LT(test::difference(together, alone(make, Precision::fp64, split)).first, 1e-9);
}

TEST_P(SameMathematicsRounded, InSinglePrecisionToRoundingOverAllParameters) {
  const auto& [make, split, way] = GetParam();
  const model::Values together = train(make(), *communicator_, Precision::fp32, split, way);
  EXPECT_LT(test::difference(together, alone(make, Precision::fp32, split)).second, 1e-5);
}

constexpr Split kEqual{"Equal", false, 0, 0, false};
constexpr Split kUneven{"Uneven", true, 0, 0, false};
constexpr Split kAccumulation{"Accumulation", true, 2, 0, false};
constexpr Split kClip{"Clip", true, 3, 0.05, false};
constexpr Split kPartial{"PartialLastBatch", true, 4, 0, true};

std::string name_of(const testing::TestParamInfo<SameMathematics::ParamType>& info) {
  const auto& [make, split, way] = info.param;
  static const std::map<model::Model (*)(), const char*> names{{&test::small_vit, "Vit"},
                                                               {&test::small_gpt, "Gpt"},
                                                               {&test::small_mlp, "Mlp"},
                                                               {&test::small_vit_lora, "VitLora"},
                                                               {&test::small_gpt_lora, "GptLora"},
                                                               {&test::packed_gpt, "GptPacked"},
                                                               {&test::packed_llama_lora, "LlamaPackedLora"}};
  return fmt::format("{}{}{}", names.at(make), split.name, way.name);
}

constexpr Way kDdp{"Ddp", Mode::ddp, false, false, false};
constexpr Way kDdpTable{.name = "DdpTable", .mode = Mode::ddp, .recompute = true, .table = true};
constexpr Way kDdpWeighted{"DdpUnequalShards", Mode::ddp, false, false, true};
constexpr Way kDdpWeightedTable{.name = "DdpTableUnequalShards", .mode = Mode::ddp, .weighted = true, .table = true};
constexpr Way kFsdp{"Fsdp", Mode::fsdp, false, false, false};
constexpr Way kFsdpOffload{"FsdpOffload", Mode::fsdp, true, true, true};
constexpr Way kLsdpOneNode{"LsdpOneNode", Mode::lsdp, false, false, false, 0, 1};
constexpr Way kLsdpTwoNodes{"LsdpTwoNodes", Mode::lsdp, false, true, false, 2, 2};
constexpr Way kLsdpOwnNodes{"LsdpOwnNodes", Mode::lsdp, false, false, false, 0, 4};
constexpr Way kLsdpResident{"LsdpAllResident", Mode::lsdp, false, true, false, 1000, 2};

const auto kModels = testing::Values(&test::small_vit, &test::small_gpt, &test::small_mlp);
INSTANTIATE_TEST_SUITE_P(Ddp, SameMathematics,
                         testing::Combine(kModels, testing::Values(kEqual, kUneven, kAccumulation, kClip, kPartial),
                                          testing::Values(kDdp)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(DdpTable, SameMathematics,
                         testing::Combine(testing::Values(&test::small_gpt),
                                          testing::Values(kEqual, kUneven, kAccumulation, kClip, kPartial),
                                          testing::Values(kDdpTable, kDdpWeightedTable)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(DdpUnequalShards, SameMathematics,
                         testing::Combine(kModels, testing::Values(kUneven, kAccumulation, kClip),
                                          testing::Values(kDdpWeighted)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Fsdp, SameMathematics,
                         testing::Combine(kModels, testing::Values(kUneven, kAccumulation, kClip, kPartial),
                                          testing::Values(kFsdp)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(FsdpOffload, SameMathematics,
                         testing::Combine(kModels, testing::Values(kClip, kPartial), testing::Values(kFsdpOffload)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(LsdpOneNode, SameMathematics,
                         testing::Combine(kModels, testing::Values(kUneven, kAccumulation, kClip),
                                          testing::Values(kLsdpOneNode)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(LsdpTwoNodes, SameMathematics,
                         testing::Combine(kModels, testing::Values(kAccumulation, kPartial),
                                          testing::Values(kLsdpTwoNodes)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(LsdpOwnNodes, SameMathematics,
                         testing::Combine(kModels, testing::Values(kEqual, kUneven, kClip),
                                          testing::Values(kLsdpOwnNodes)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(LsdpAllResident, SameMathematics,
                         testing::Combine(kModels, testing::Values(kClip, kPartial), testing::Values(kLsdpResident)),
                         name_of);

INSTANTIATE_TEST_SUITE_P(Host, SameMathematicsRounded,
                         testing::Combine(testing::Values(&test::small_vit, &test::small_gpt), testing::Values(kClip),
                                          testing::Values(kDdp, kDdpWeighted, kFsdp, kFsdpOffload, kLsdpOneNode,
                                                          kLsdpTwoNodes, kLsdpOwnNodes, kLsdpResident)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Partial, SameMathematicsRounded,
                         testing::Combine(kModels, testing::Values(kPartial), testing::Values(kDdp)), name_of);
INSTANTIATE_TEST_SUITE_P(Table, SameMathematicsRounded,
                         testing::Combine(testing::Values(&test::small_gpt), testing::Values(kClip),
                                          testing::Values(kDdpTable, kDdpWeightedTable)),
                         name_of);

// Adapters beside parameters that stay.
const auto kAdapted = testing::Values(&test::small_vit_lora, &test::small_gpt_lora);
constexpr Way kDdpRecompute{.name = "DdpRecompute", .mode = Mode::ddp, .recompute = true};
INSTANTIATE_TEST_SUITE_P(Lora, SameMathematics,
                         testing::Combine(kAdapted, testing::Values(kUneven, kAccumulation, kClip, kPartial),
                                          testing::Values(kDdp, kDdpRecompute, kDdpWeightedTable, kFsdp, kFsdpOffload,
                                                          kLsdpOneNode, kLsdpTwoNodes, kLsdpResident)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Lora, SameMathematicsRounded,
                         testing::Combine(kAdapted, testing::Values(kAccumulation),
                                          testing::Values(kDdp, kFsdp, kLsdpTwoNodes)),
                         name_of);

// What a device of its own memory adds: copies to and fro, in all modes.
constexpr Way kDdpApart{.name = "DdpApart", .mode = Mode::ddp, .where = Where::apart};
constexpr Way kDdpMixed{.name = "DdpMixedDevices",
                        .mode = Mode::ddp,
                        .recompute = true,
                        .where = Where::mixed,
                        .offload_activations = true};
constexpr Way kDdpTableApart{
    .name = "DdpTableApart", .mode = Mode::ddp, .weighted = true, .table = true, .where = Where::apart};
constexpr Way kFsdpApart{.name = "FsdpApart", .mode = Mode::fsdp, .weighted = true, .where = Where::apart};
constexpr Way kFsdpOffloadMixed{
    .name = "FsdpOffloadMixedDevices", .mode = Mode::fsdp, .offload = true, .where = Where::mixed};
constexpr Way kDdpGrouped{.name = "DdpGroupedDevices", .mode = Mode::ddp, .weighted = true, .where = Where::grouped};
constexpr Way kFsdpGrouped{.name = "FsdpGroupedDevices", .mode = Mode::fsdp, .where = Where::grouped};
constexpr Way kLsdpApart{.name = "LsdpApart", .mode = Mode::lsdp, .nodes = 2, .where = Where::apart};
constexpr Way kLsdpMixed{
    .name = "LsdpMixedDevices", .mode = Mode::lsdp, .resident = 2, .nodes = 4, .where = Where::mixed};
const auto kWaysApart = testing::Values(kDdpApart, kDdpMixed, kDdpGrouped, kFsdpApart, kFsdpGrouped, kFsdpOffloadMixed,
                                        kLsdpApart, kLsdpMixed);
INSTANTIATE_TEST_SUITE_P(Apart, SameMathematics,
                         testing::Combine(testing::Values(&test::small_gpt), testing::Values(kAccumulation),
                                          kWaysApart),
                         name_of);
INSTANTIATE_TEST_SUITE_P(ApartClip, SameMathematics,
                         testing::Combine(testing::Values(&test::small_mlp), testing::Values(kClip), kWaysApart),
                         name_of);
INSTANTIATE_TEST_SUITE_P(LoraApart, SameMathematics,
                         testing::Combine(testing::Values(&test::small_gpt_lora), testing::Values(kAccumulation),
                                          kWaysApart),
                         name_of);
// Documents that share samples.
const auto kPacked = testing::Values(&test::packed_gpt, &test::packed_llama_lora);
INSTANTIATE_TEST_SUITE_P(Packed, SameMathematics,
                         testing::Combine(kPacked, testing::Values(kUneven, kAccumulation, kPartial),
                                          testing::Values(kDdp, kDdpRecompute, kFsdp, kLsdpTwoNodes, kDdpMixed)),
                         name_of);

INSTANTIATE_TEST_SUITE_P(TableApart, SameMathematics,
                         testing::Combine(testing::Values(&test::small_gpt), testing::Values(kAccumulation),
                                          testing::Values(kDdpTableApart)),
                         name_of);

INSTANTIATE_TEST_SUITE_P(Apart, SameMathematicsRounded,
                         testing::Combine(testing::Values(&test::small_gpt), testing::Values(kClip), kWaysApart),
                         name_of);

constexpr Way kDdpCuda{.name = "DdpCuda", .mode = Mode::ddp, .where = Where::cuda};
constexpr Way kDdpTableCuda{.name = "DdpTableCuda", .mode = Mode::ddp, .table = true, .where = Where::cuda};
constexpr Way kFsdpCuda{
    .name = "FsdpCuda", .mode = Mode::fsdp, .recompute = true, .where = Where::cuda, .offload_activations = true};
constexpr Way kFsdpOffloadCuda{.name = "FsdpOffloadCuda", .mode = Mode::fsdp, .offload = true, .where = Where::cuda};
constexpr Way kLsdpCuda{.name = "LsdpCuda", .mode = Mode::lsdp, .nodes = 2, .where = Where::cuda};
constexpr Way kLsdpResidentCuda{
    .name = "LsdpResidentCuda", .mode = Mode::lsdp, .resident = 2, .nodes = 1, .where = Where::cuda};
const auto kWaysCuda =
    testing::Values(kDdpCuda, kDdpTableCuda, kFsdpCuda, kFsdpOffloadCuda, kLsdpCuda, kLsdpResidentCuda);
INSTANTIATE_TEST_SUITE_P(Cuda, SameMathematics,
                         testing::Combine(testing::Values(&test::small_vit, &test::small_gpt),
                                          testing::Values(kUneven, kAccumulation, kClip), kWaysCuda),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Cuda, SameMathematicsRounded,
                         testing::Combine(testing::Values(&test::small_vit, &test::small_gpt),
                                          testing::Values(kUneven, kAccumulation, kClip), kWaysCuda),
                         name_of);

}  // namespace
}  // namespace lshdp::parallel
