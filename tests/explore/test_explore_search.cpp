// The search against every combination judged by itself, and what is kept of it.
#include <algorithm>
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/explore/ranking.h"
#include "lshdp/explore/search.h"
#include "lshdp/explore/verdict.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kGiB = 1LL << 30;

/// Nodes of 4 devices.
Hardware nodes() {
  return {.device = {.name = "device", .memory_bytes = 80 * kGiB, .float16_flops = 300e12, .memory_bandwidth = 2e12},
          .cluster = {
              .name = "nodes", .devices_per_node = 4, .within_node = {300e9, 3e-6}, .between_nodes = {25e9, 10e-6}}};
}

/// Calls `visit` with every combination of `space`, in the order of Layout.
template <typename Visit>
void each_combination(const SearchSpace& space, Visit visit) {
  for (const auto tensor : space.tensor)
    for (const auto expert : space.expert)
      for (const auto pipeline : space.pipeline)
        for (const auto interleaving : space.interleaving)
          for (const auto split : space.layer_split)
            for (const auto context : space.context)
              for (const bool sequence_parallel : space.sequence_parallel)
                for (const auto devices : space.devices)
                  for (const auto micro_batch : space.micro_batch)
                    for (const auto recompute : space.recompute)
                      for (const auto sharding : space.sharding)
                        visit(Layout{tensor, expert, pipeline, interleaving, split, context, sequence_parallel, devices,
                                     micro_batch, recompute, sharding});
}

void expect_same_as_one_by_one(const Model& model, const SearchSpace& space) {
  std::vector<Candidate> found;
  const SearchCounts counts =
      search(model, Trainer{}, space, nodes(), [&](const Candidate& one) { found.push_back(one); });
  SearchCounts wanted;
  auto next = found.begin();
  each_combination(space, [&](const Layout& layout) {
    if (const auto refusal = refusal_of(model, layout)) {
      ++wanted.refused[static_cast<std::size_t>(*refusal)];
      return;
    }
    ++wanted.valid;
    ASSERT_NE(next, found.end());
    ASSERT_EQ(next->layout, layout);
    const Memory memory = estimate(model, Trainer{}, layout);
    ASSERT_EQ(next->worst.stage, memory.worst_stage().stage);
    ASSERT_EQ(next->worst.total_with_margin(), memory.worst_stage().total_with_margin());
    ASSERT_EQ(next->loss, memory.loss);
    ASSERT_EQ(next->time.seconds, step_time(model, Trainer{}, nodes(), layout).seconds);
    ++next;
  });
  EXPECT_EQ(next, found.end());
  EXPECT_EQ(counts.valid, wanted.valid);
  EXPECT_EQ(counts.refused, wanted.refused);
  EXPECT_EQ(counts.all(), space.size());
}

SearchSpace small_space() {
  SearchSpace space;
  space.devices = {1, 6, 8, 64};
  space.tensor = {1, 3, 4, 16};
  space.pipeline = {1, 2, 3, 4, 40};
  space.context = {1, 2, 3};
  space.expert = {1, 2, 3, 8};
  return space;
}

TEST(Search, GivesWhatEachLayoutByItselfGives) {
  Model dense = llama(30, 1024, 16, 8, 4096, 50000);
  dense.global_batch_size = 24;
  expect_same_as_one_by_one(dense, small_space());
  Model experts = mixtral(12, 1024, 16, 2048, 32000);
  experts.moe.expert_frequency = 0.5;
  experts.global_batch_size = 64;
  expect_same_as_one_by_one(experts, small_space());
}

std::vector<Layout> layouts_of(const std::vector<Candidate>& candidates) {
  std::vector<Layout> layouts;
  for (const Candidate& candidate : candidates) layouts.push_back(candidate.layout);
  return layouts;
}

TEST(Ranking, IsTheSameInWhateverOrderCandidatesCome) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  SearchSpace space;
  space.devices = {8, 16, 64};
  std::vector<Candidate> all;
  search(model, Trainer{}, space, std::nullopt, [&](const Candidate& one) { all.push_back(one); });
  const auto rank = [&](RankBy by) {
    Top top(20, by);
    for (const Candidate& candidate : all) top.offer(candidate);
    return layouts_of(top.candidates());
  };
  const auto front = [&] {
    ParetoFront pareto;
    for (const Candidate& candidate : all) pareto.offer(candidate);
    return layouts_of(pareto.candidates());
  };
  const auto by_memory = rank(RankBy::memory), by_devices = rank(RankBy::devices), pareto = front();
  std::ranges::reverse(all);
  EXPECT_EQ(rank(RankBy::memory), by_memory);
  EXPECT_EQ(rank(RankBy::devices), by_devices);
  EXPECT_EQ(front(), pareto);
  std::ranges::rotate(all, all.begin() + static_cast<std::ptrdiff_t>(all.size() / 3));
  EXPECT_EQ(rank(RankBy::memory), by_memory);
  EXPECT_EQ(front(), pareto);
}

TEST(Ranking, KeepsTheBestOfAll) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  SearchSpace space;
  space.devices = {4, 8};
  std::vector<Candidate> all;
  Top top(5, RankBy::memory);
  search(model, Trainer{}, space, std::nullopt, [&](const Candidate& one) {
    all.push_back(one);
    top.offer(one);
  });
  std::ranges::sort(all, [](const Candidate& a, const Candidate& b) { return comes_before(a, b, RankBy::memory); });
  ASSERT_EQ(all.front().layout.data(), 1);
  std::erase_if(all, [](const Candidate& one) {
    return one.layout.data() == 1 && one.layout.sharding != Sharding::fully_shard &&
           one.layout.sharding != Sharding::no_op;
  });
  all.resize(5);
  EXPECT_EQ(layouts_of(top.candidates()), layouts_of(all));
}

TEST(Ranking, NamesLevelsOfShardingOnceWhereTheyShareNothingOut) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  SearchSpace space;
  space.devices = space.tensor = space.pipeline = space.context = space.micro_batch = {1};
  space.recompute = {Recompute::full};
  Top top(10, RankBy::memory);
  search(model, Trainer{}, space, std::nullopt, [&](const Candidate& one) { top.offer(one); });
  ASSERT_EQ(top.candidates().size(), 2U);  // fully sharded weights are their own master weights
  EXPECT_EQ(top.candidates()[0].layout.sharding, Sharding::fully_shard);
  EXPECT_EQ(top.candidates()[1].layout.sharding, Sharding::no_op);
}

TEST(Ranking, OnTheFrontTradesDevicesForMemory) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  SearchSpace space;
  space.devices = {1, 2, 4, 8, 16};
  ParetoFront pareto;
  search(model, Trainer{}, space, std::nullopt, [&](const Candidate& one) { pareto.offer(one); });
  const std::vector<Candidate> front = pareto.candidates();
  ASSERT_GE(front.size(), 3U);
  for (std::size_t i = 1; i < front.size(); ++i) {
    EXPECT_GT(front[i].layout.devices, front[i - 1].layout.devices);
    EXPECT_LT(front[i].worst.total_with_margin(), front[i - 1].worst.total_with_margin());
  }
}

/// Whether `one` is at least as good as `other` in everything, and not the same.
bool beats(const Candidate& one, const Candidate& other) {
  const auto measures = [](const Candidate& of) {
    return std::array{static_cast<double>(of.layout.devices), of.worst.total_with_margin(), of.time.seconds};
  };
  const auto mine = measures(one), its = measures(other);
  return mine != its && std::ranges::equal(mine, its, std::ranges::less_equal());
}

TEST(Ranking, OnTheFrontNothingBeatsAnotherInMemoryTimeAndDevices) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  SearchSpace space;
  space.devices = {1, 2, 4, 8, 16};
  std::vector<Candidate> all;
  search(model, Trainer{}, space, nodes(), [&](const Candidate& one) { all.push_back(one); });
  const auto front_of = [&] {
    ParetoFront pareto;
    for (const Candidate& candidate : all) pareto.offer(candidate);
    return pareto.candidates();
  };
  const std::vector<Candidate> front = front_of();
  ASSERT_GE(front.size(), 10U);
  for (const Candidate& candidate : all) {
    const bool on_it = std::ranges::any_of(front, [&](const Candidate& one) { return one.layout == candidate.layout; });
    const bool beaten = std::ranges::any_of(front, [&](const Candidate& one) { return beats(one, candidate); });
    EXPECT_FALSE(on_it && beaten);
    const bool matched = std::ranges::any_of(front, [&](const Candidate& one) { return !beats(candidate, one); });
    EXPECT_TRUE(on_it || beaten || matched);
  }
  std::ranges::reverse(all);
  EXPECT_EQ(layouts_of(front_of()), layouts_of(front));
}

TEST(Ranking, ByTimePutsTheShortestStepFirst) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  SearchSpace space;
  space.devices = {8, 16};
  std::vector<Candidate> all;
  Top top(5, RankBy::time);
  search(model, Trainer{}, space, nodes(), [&](const Candidate& one) {
    all.push_back(one);
    top.offer(one);
  });
  const auto shortest = std::ranges::min_element(all, {}, [](const Candidate& one) { return one.time.seconds; });
  ASSERT_EQ(top.candidates().size(), 5U);
  EXPECT_EQ(top.candidates().front().time.seconds, shortest->time.seconds);
  EXPECT_TRUE(std::ranges::is_sorted(top.candidates(), {}, [](const Candidate& one) { return one.time.seconds; }));
}

TEST(Verdict, IsTightWhereOnlyTheMarginIsMissing) {
  StageMemory stage;
  stage.weights = 10e9;
  stage.margin = 1e9;
  EXPECT_EQ(verdict(stage, {"x", 11'000'000'000}), Verdict::fits);
  EXPECT_EQ(verdict(stage, {"x", 10'500'000'000}), Verdict::tight);
  EXPECT_EQ(verdict(stage, {"x", 9'999'999'999}), Verdict::does_not_fit);
}

TEST(Verdict, SaysWhatWouldFit) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  const Device device{"80 GiB", 80 * kGiB};
  const Layout alone{.devices = 8};
  EXPECT_EQ(verdict(estimate(model, Trainer{}, alone).worst_stage(), device), Verdict::does_not_fit);
  EXPECT_EQ(what_would_fit(model, Trainer{}, alone, device), "FULLY_SHARD");
  EXPECT_EQ(what_would_fit(model, Trainer{}, {}, device), "TP 4 in place of 1 on 4 devices");
  EXPECT_THAT(what_would_fit(model, Trainer{}, {}, {"tiny", kGiB / 4}), HasSubstr("times the memory"));
}

/// What is named fits when it is done, and less does not.
TEST(Verdict, NamesChangesThatDoFit) {
  const Model model = llama(80, 8192, 64, 8, 28672, 128256);
  const Device device{"48 GiB", 48 * kGiB};
  Layout layout{.tensor = 8, .devices = 64};
  ASSERT_EQ(what_would_fit(model, Trainer{}, layout, device), "sequence parallelism and FULLY_SHARD");
  const auto judged = [&] { return verdict(estimate(model, Trainer{}, layout).worst_stage(), device); };
  layout.sharding = Sharding::fully_shard;
  EXPECT_EQ(judged(), Verdict::does_not_fit);
  layout.sequence_parallel = true;
  EXPECT_EQ(judged(), Verdict::fits);
}

}  // namespace
}  // namespace lshdp::explore::test
