// Chrome trace events, as Trace writes them.
#include "run_spans.h"

#include <algorithm>
#include <map>
#include <utility>

#include "lshdp/core/json.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMostBytes = std::uintmax_t{256} << 20U;
constexpr double kMicroseconds = 1e-6;

std::vector<TraceSpan> spans_of(const Json& events, const std::string& source) {
  std::vector<TraceSpan> spans;
  for (const Json& event : events) {
    if (json_value<std::string>(event, "ph", source) != "X") continue;
    const double begin = kMicroseconds * json_value<double>(event, "ts", source);
    spans.push_back({json_value<int>(event, "pid", source), json_value<std::string>(event, "cat", source),
                     json_value<std::string>(event, "name", source), begin,
                     begin + kMicroseconds * json_value<double>(event, "dur", source)});
  }
  return spans;
}

}  // namespace

TracePart read_trace_part(const fs::path& run, double seconds) {
  const fs::path path = run / "trace.json";
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(path, error);
  if (error || bytes > kMostBytes) return {};
  std::vector<TraceSpan> spans = spans_of(read_json(path), path.string());
  if (spans.empty()) return {};
  std::ranges::sort(spans, {}, &TraceSpan::begin);
  TracePart part;
  part.begin = spans[spans.size() * 3 / 4].begin;
  part.end = part.begin + seconds;
  std::ranges::copy_if(spans, std::back_inserter(part.spans),
                       [&](const TraceSpan& span) { return span.end > part.begin && span.begin < part.end; });
  return part;
}

}  // namespace lshdp::cli
