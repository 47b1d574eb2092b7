// Spans to Chrome trace events: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU ("Trace
// Event Format").
#include "lshdp/core/trace.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "lshdp/core/json.h"

namespace lshdp {
namespace {

constexpr double kMicro = 1e6;

/// Names a process or thread for the viewer.
Json metadata_event(const char* kind, int rank, std::size_t lane, const std::string& name) {
  return {{"name", kind}, {"ph", "M"}, {"pid", rank}, {"tid", lane}, {"args", {{"name", name}}}};
}

bool is_span(const Json& event) { return event.at("ph") == "X"; }

}  // namespace

void Trace::record(std::string_view name, std::string_view lane, double begin, double end) {
  if (!enabled()) return;
  const std::lock_guard lock(mutex_);
  entries_.push_back({std::string(name), std::string(lane), begin, end});
}

Json Trace::to_events(int rank, const std::string& process_name) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> lanes;
  Json events = Json::array({metadata_event("process_name", rank, 0, process_name)});
  for (const Entry& entry : entries_) {
    const auto lane = static_cast<std::size_t>(std::ranges::find(lanes, entry.lane) - lanes.begin());
    if (lane == lanes.size()) {
      lanes.push_back(entry.lane);
      events.push_back(metadata_event("thread_name", rank, lane, entry.lane));
    }
    events.push_back({{"name", entry.name},
                      {"cat", entry.lane},
                      {"ph", "X"},
                      {"ts", entry.begin * kMicro},
                      {"dur", std::max(0.0, entry.end - entry.begin) * kMicro},
                      {"pid", rank},
                      {"tid", lane}});
  }
  return events;
}

Json merge_trace_events(std::span<const Json> events, std::span<const double> offsets) {
  if (events.size() != offsets.size()) throw std::invalid_argument("merge_trace_events: one offset per rank is needed");
  Json merged = Json::array();
  double earliest = std::numeric_limits<double>::max();
  for (std::size_t i = 0; i < events.size(); ++i) {
    for (Json event : events[i]) {
      if (is_span(event)) {
        const double begin = event.at("ts").get<double>() + offsets[i] * kMicro;
        event["ts"] = begin;
        earliest = std::min(earliest, begin);
      }
      merged.push_back(std::move(event));
    }
  }
  for (Json& event : merged) {
    if (is_span(event)) event["ts"] = event["ts"].get<double>() - earliest;
  }
  return merged;
}

}  // namespace lshdp
