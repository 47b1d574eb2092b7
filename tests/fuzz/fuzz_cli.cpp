// Readers of the command line (options of every command, lists of hosts, and the file of `lshdp run`), and of the
// metrics of runs.
#include <algorithm>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "host_list.h"
#include "html_report.h"
#include "lshdp/cli/command.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/file.h"
#include "lshdp/train/metrics.h"
#include "reader.h"
#include "run_config.h"
#include "run_directory.h"
#include "run_follower.h"
#include "run_spans.h"
#include "scratch_file.h"
#include "support/temporary_directory.h"
#include "top_view.h"

namespace lshdp::test {
namespace {

using cli::Arguments;
using cli::Options;

std::vector<std::string> command_lines() {
  return {"optimize\nprofile.json\n--out\nb.json\n--total\n512",
          "train\n--model\nmlp\n--data\nd.h5\n--steps\n10\n--lr=1e-3\n--results\nr\n--checkpoint-every\n10min",
          "max-batch\n--model\nvit\n--memory\n2GiB,1GiB\n--", "explore\nmixtral-8x7b\n+ngpus_range=[8,128]",
          "report\na\n--out\n--help"};
}

/// Reads the value as whatever it may be; a value that is of no such kind is refused.
void read_value(const cli::Values& values, const std::string& name) {
  const auto attempt = [](auto read) {
    try {
      read();
    } catch (const UsageError&) {
      // Of another kind.
    }
  };
  attempt([&] { values.integer(name, 0); });
  attempt([&] { values.real(name, 0); });
  attempt([&] { values.size(name); });
  attempt([&] { values.integers(name); });
  attempt([&] { values.reals(name); });
  attempt([&] { values.sizes(name); });
  attempt([&] { values.count_or_seconds(name); });
  attempt([&] { values.choice(name, {"a", "b"}); });
}

/// One argument in each line, the first one the command.
void parse_command_line(const std::string& text) {
  Arguments arguments;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) arguments.push_back(line);
  if (arguments.empty()) throw UsageError("no command");
  const bool asks_for_help = std::ranges::any_of(arguments, [](const auto& a) { return a == "-h" || a == "--help"; });
  if (asks_for_help) return;  // which would be printed
  const Options options = cli::described_command(arguments.front(), "F").options();
  const cli::Values values = options.parse(arguments);
  for (const Options::Definition& definition : options.definitions()) {
    if (values.has(definition.name) && definition.kind != Options::Kind::flag) read_value(values, definition.name);
  }
  EXPECT_EQ(values.to_json().size(), values.as_read().size());
}

std::vector<std::string> host_lists() {
  return {"a:1,b:2", "a,b", "node1 slots=2 max_slots=4\n# comment\nnode2\n", "gpu[01-03,7],login"};
}

/// In whichever of the three forms it is.
void read_hosts(const std::string& text) {
  int forms = 0;
  const auto attempt = [&](auto read) {
    try {
      EXPECT_FALSE(read().empty());
      ++forms;
    } catch (const UsageError&) {
      // Another form.
    }
  };
  attempt([&] { return cli::parse_host_list(text, "--hosts"); });
  attempt([&] { return cli::parse_hostfile(text, "F"); });
  attempt([&] { return cli::parse_slurm_hosts(text, ""); });
  attempt([&] { return cli::parse_slurm_hosts("a[1-3]", text); });
  if (forms == 0) throw UsageError("no list of hosts");
}

std::vector<std::string> run_files() {
  return {
      "command: train\noptions:\n  model: mlp\n  data: d.h5\n  steps: 3\n  batches: [8, 8]\n  recompute: true\nhosts:\n"
      "  - {host: a, ranks: 2, device: cpu}\n  - {host: b, device: cuda}\nmpirun: [--mca, btl, \"tcp,self\"]\n"
      "environment: {OMP_NUM_THREADS: 2}\n",
      "options: {model: mlp, data: d.h5, epochs: 1}\nhosts: a:2,b:1\n",
      "command: optimize\noptions: {profile: p.json, out: b.json}\n"};
}

/// A file whose arguments the command's own parser may still refuse.
void read_run_file(const std::string& text) {
  const ScratchFile file(text);
  const cli::RunConfig config = cli::read_run_config(file.path().string(), {"log=warn"});
  EXPECT_FALSE(config.arguments.empty());
  EXPECT_EQ(config.command->options().parse(config.arguments).help(), false);
}

/// Each the records of one run: a launch, and what it did.
std::vector<Json> runs() {
  const train::RunRecord run{.model = "mlp",
                             .strategy = {},
                             .total = 3,
                             .ranks = {{0, "a", 1, 4, 1, "cpu"}, {1, "b", 2, 4, 0.5, "cpu"}},
                             .predicted = {}};
  const auto step = [](std::int64_t number) {
    return train::StepRecord{.step = number,
                             .loss = 1.5,
                             .samples = 3,
                             .step_seconds = 0.25,
                             .batches = {1, 2},
                             .compute_seconds = {0.1, 0.2},
                             .communication_seconds = {0.1, 0.1},
                             .wait_seconds = {0, 0.1},
                             .cpu_seconds = {0.1, 0.2},
                             .communication_cpu_seconds = {0, 0}};
  };
  const train::RebalanceRecord rebalance{2, {1, 2}, {2, 1}, {1, 1}, {1, 2}, 0.25, 0.2};
  return {{train::to_json(run), train::to_json(step(1)), train::to_json(rebalance), train::to_json(step(2)),
           train::to_json(train::EvaluationRecord{2, 1.25, 0.5, 10}), train::to_json(run), train::to_json(step(3))}};
}

std::vector<Json> traces() {
  return {Json::parse(R"([{"args":{"name":"rank 0"},"name":"process_name","ph":"M","pid":0,"tid":0},
                          {"cat":"compute","dur":4500.5,"name":"forward head","ph":"X","pid":0,"tid":0,"ts":12.5},
                          {"cat":"wait","dur":100,"name":"parameters","ph":"X","pid":1,"tid":1,"ts":2000}])")};
}

void read_trace(const Json& events) {
  static const TemporaryDirectory folder;
  write_file(folder / "trace.json", json_text(events));
  const cli::TracePart part = cli::read_trace_part(folder.path(), 0.5);
  for (const cli::TraceSpan& span : part.spans) EXPECT_GE(part.end, span.begin);
}

/// What is tabulated can also be continued, whatever its lines are.
void read_run(const Json& records) {
  if (!records.is_array()) throw UsageError("no list");
  static const TemporaryDirectory folder;
  {
    std::ofstream file(folder / "metrics.jsonl", std::ios::binary);
    for (const Json& record : records) file << json_text(record) << '\n';
  }
  train::RunRecord resumed;
  resumed.resumed_after = 2;
  const cli::RunDirectory run = cli::read_run_directory(folder.path());
  EXPECT_FALSE(cli::describe({run}).empty());
  EXPECT_FALSE(cli::html_report(run).empty());
  cli::RunFollower follower(folder.path());
  EXPECT_FALSE(cli::top_view("run", follower.look(), {.rows = 9, .columns = 99}).empty());
  train::MetricsWriter(folder.path(), resumed);
}

}  // namespace

std::vector<Reader> readers() {
  return {{"CommandLine", command_lines, parse_command_line},
          {"Hosts", host_lists, read_hosts},
          {"RunFile", run_files, read_run_file},
          json_reader("Metrics", runs, read_run),
          json_reader("Trace", traces, read_trace)};
}

}  // namespace lshdp::test
