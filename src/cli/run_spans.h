// A part of trace.json of a run.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace lshdp::cli {

/// What a rank did in one of its lanes. Seconds on the trace's clock.
struct TraceSpan {
  int rank = 0;
  std::string lane, name;
  double begin = 0, end = 0;
};

/// Those of all ranks that touch [begin, end).
struct TracePart {
  double begin = 0, end = 0;
  std::vector<TraceSpan> spans;
};

/// `seconds` of RUN/trace.json from the three quarters of it on, where a run has warmed up and is not yet ending; empty
/// where there is no trace, or one too large to be read into memory (256 MiB). Throws UsageError if it is damaged.
TracePart read_trace_part(const std::filesystem::path& run, double seconds);

}  // namespace lshdp::cli
