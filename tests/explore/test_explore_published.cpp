// How far explore is from published runs: the errors stay what docs/explore.md reports.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "lshdp/explore/parameters.h"
#include "lshdp/explore/step_time.h"
#include "lshdp/explore/verdict.h"
#include "published_runs.h"

namespace lshdp::explore::test {
namespace {

const std::vector<PublishedRun>& runs() {
  static const std::vector<PublishedRun> all = read_published_runs(LSHDP_PUBLISHED_DATA, LSHDP_CONFIGS);
  return all;
}

bool offloads(const PublishedRun& run) { return run.layout.offload != Offload::none; }

/// Without offload.
std::vector<double> time_errors(bool calibration) {
  std::vector<double> errors;
  for (const PublishedRun& run : runs()) {
    if (!offloads(run) && run.calibration == calibration && run.step_seconds > 0)
      errors.push_back(time_error(run, *run.settings.hardware()));
  }
  return errors;
}

std::vector<double> memory_errors(bool calibration) {
  std::vector<double> errors;
  for (const PublishedRun& run : runs()) {
    if (!offloads(run) && run.calibration == calibration && run.memory_gib > 0) errors.push_back(memory_error(run));
  }
  return errors;
}

TEST(Published, RunsAreManyAndPartedByTheRule) {
  EXPECT_GE(runs().size(), 100U);
  for (const PublishedRun& run : runs()) {
    EXPECT_EQ(run.calibration, is_calibration(run.source, run.model, run.layout)) << run.source << ' ' << run.model;
    EXPECT_FALSE(refusal_of(run.settings.model, run.layout)) << run.source << ' ' << run.model;
  }
}

/// Sizes that were taken for published models have as many parameters as are published with their times.
TEST(Published, ModelsHaveTheParametersThatArePublished) {
  const std::map<std::string, std::int64_t> published{
      {"mpt-125m", 125'311'488},   {"mpt-350m", 355'985'408},   {"mpt-760m", 760'470'528},
      {"mpt-1b", 1'315'950'592},   {"mpt-3b", 2'651'837'440},   {"mpt-7b", 6'658'859'008},
      {"mpt-13b", 12'853'954'560}, {"mpt-30b", 29'975'214'080}, {"mpt-70b", 64'862'437'376}};
  std::set<std::string> checked;
  for (const PublishedRun& run : runs()) {
    const auto of = published.find(run.model);
    if (of == published.end() || run.settings.model.seq_length != 2048) continue;
    EXPECT_EQ(total_parameters(run.settings.model), of->second) << run.model;
    checked.insert(run.model);
  }
  EXPECT_EQ(checked.size(), published.size());
}

TEST(Published, TimesAreAsFarOffAsReported) {
  const ErrorSummary calibration = summary_of(time_errors(true)), held_out = summary_of(time_errors(false));
  EXPECT_LE(calibration.mean, 0.05);
  EXPECT_LE(calibration.worst, 0.29);
  EXPECT_LE(held_out.mean, 0.055);
  EXPECT_LE(held_out.worst, 0.34);
}

TEST(Published, MemoriesAreAsFarOffAsReported) {
  const ErrorSummary calibration = summary_of(memory_errors(true)), held_out = summary_of(memory_errors(false));
  EXPECT_LE(calibration.mean, 0.031);
  EXPECT_LE(calibration.worst, 0.12);
  EXPECT_LE(held_out.mean, 0.040);
  EXPECT_LE(held_out.worst, 0.102);
}

/// No constant was found on these.
TEST(Published, RunsWithOffloadAreAsFarOffAsReported) {
  std::map<std::string, std::vector<double>> times;
  for (const PublishedRun& run : runs()) {
    if (!offloads(run)) continue;
    if (run.step_seconds > 0) times[run.source].push_back(time_error(run, *run.settings.hardware()));
    if (run.memory_gib > 0) {
      EXPECT_NEAR(memory_error(run), -0.34, 0.02) << run.source;
    }
  }
  ASSERT_EQ(times.size(), 3U);
  EXPECT_EQ(times["colossalai-gemini"].size(), 8U);
  EXPECT_LE(summary_of(times["colossalai-gemini"]).mean, 0.072);
  EXPECT_LE(summary_of(times["colossalai-gemini"]).worst, 0.145);
  EXPECT_LE(summary_of(times["colossalai-lightning"]).worst, 0.78);
  EXPECT_LE(summary_of(times["zero-offload"]).worst, 0.43);
}

/// As what does not fit, or not safely. Of the runs that went out of memory, and of those that did not.
TEST(Published, RunsOutOfMemoryAreNamed) {
  double out = 0, named = 0, fitted = 0, refused = 0, said_to_fail = 0;
  for (const PublishedRun& run : runs()) {
    if (offloads(run)) continue;
    const Memory memory = estimate(run.settings.model, run.settings.trainer, run.layout);
    const Verdict judged = verdict(memory.worst_stage(), *run.settings.device);
    (run.fits ? fitted : out) += 1;
    if (judged != Verdict::fits) (run.fits ? refused : named) += 1;
    if (run.fits && judged == Verdict::does_not_fit) said_to_fail += 1;
  }
  EXPECT_GE(named / out, 5.0 / 6);
  EXPECT_LE(refused / fitted, 0.045);
  EXPECT_EQ(said_to_fail, 0);
}

/// Within one model on one cluster, by seconds a token and device.
TEST(Published, RunsOfOneModelAreMostlyRankedAsMeasured) {
  struct Group {
    std::vector<double> measured, computed;
  };
  std::map<std::string, Group> groups;
  for (const PublishedRun& run : runs()) {
    if (run.step_seconds == 0 || offloads(run)) continue;
    const Settings& settings = run.settings;
    const double share = static_cast<double>(run.layout.devices) / tokens_per_step(settings.model);
    Group& group = groups[run.source + '/' + run.model];
    group.measured.push_back(run.step_seconds * share);
    group.computed.push_back(share *
                             step_time(settings.model, settings.trainer, *settings.hardware(), run.layout).seconds);
  }
  std::vector<double> correlations;
  for (const auto& [name, group] : groups) {
    constexpr std::size_t kEnough = 5;
    if (group.measured.size() >= kEnough) correlations.push_back(rank_correlation(group.measured, group.computed));
  }
  std::ranges::sort(correlations);
  ASSERT_GE(correlations.size(), 20U);
  EXPECT_GE(correlations[correlations.size() / 2], 0.96);
  EXPECT_GE(std::ranges::count_if(correlations, [](double one) { return one >= 0.9; }), 16);
}

}  // namespace
}  // namespace lshdp::explore::test
