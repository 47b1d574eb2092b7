// What a search found, as CSV, as JSON, and as tables for people.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lshdp/core/json.h"
#include "lshdp/explore/ranking.h"
#include "lshdp/explore/search.h"
#include "lshdp/explore/settings.h"

namespace lshdp::explore {

/// Names of the CSV's columns: PLANNER.md's 25 in their order, then ours. gb are 10^9 bytes, mb 10^6 bytes, m 10^6
/// parameters; docs/explore.md says what each holds.
const std::vector<std::string>& csv_columns();
/// Appends one line, with its newline.
void append_csv_row(const Settings& settings, const Candidate& candidate, std::string& csv);

/// Of the layouts on one number of devices.
struct DevicesSummary {
  std::int64_t devices = 0;
  std::int64_t valid = 0, fits = 0, tight = 0;  // the last two are 0 where no device is given
  std::int64_t host_unknown = 0;                // these fit the device
  Candidate least = {};                         // with the least memory
  std::optional<Refusal> what_leaves_nothing;   // where none is valid
};

/// What a step's time means. Without hardware there is none.
struct Throughput {
  double tokens_per_second = 0;  // of all devices
  double utilization = 0;        // model operations over the peak of all devices (step_time.h)
  double price = 0;              // of a million tokens, in the currency of device.price_per_hour; 0: not given
};
Throughput throughput_of(const Settings& settings, const Candidate& candidate);

struct Found {
  SearchCounts counts = {};
  double seconds = 0;  // that the search took
  std::vector<DevicesSummary> by_devices = {};
  std::vector<Candidate> top = {};  // of those that fit or are tight, if any does
  bool some_fit = false;
  std::vector<Candidate> pareto = {};
};

/// Everything but the time that it took, which is never the same.
Json to_json(const Settings& settings, const Found& found);
/// Tables. `by` is how `found.top` is ranked. Of `found.pareto` as many lines as fit a screen.
std::string describe(const Settings& settings, const Found& found, RankBy by);

}  // namespace lshdp::explore
