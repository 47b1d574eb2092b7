// Spans of all ranks, gathered and merged.
#include "run_trace.h"

#include <string>
#include <vector>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"

namespace lshdp::train {

void write_run_trace(comm::Communicator& communicator, const Trace& trace, const std::filesystem::path& path) {
  const std::vector<std::string> hosts = comm::all_gather_hosts(communicator);
  communicator.barrier();
  const std::vector<double> clocks = comm::all_gather_values(communicator, now_seconds());
  const int rank = communicator.rank();
  const std::string mine =
      json_text(trace.to_events(rank, fmt::format("rank {} ({})", rank, hosts[static_cast<std::size_t>(rank)])));
  const std::vector<std::string> texts = comm::all_gather_text(communicator, mine);
  comm::on_rank_0(communicator, [&] {
    std::vector<Json> events;
    std::vector<double> offsets;
    for (std::size_t r = 0; r < texts.size(); ++r) {
      events.push_back(Json::parse(texts[r]));
      offsets.push_back(hosts[r] == hosts[0] ? 0 : clocks[0] - clocks[r]);
    }
    write_file(path, json_text(merge_trace_events(events, offsets)));
    return std::string();
  });
}

}  // namespace lshdp::train
