// lshdp check: whether the nodes of a run are fit for it, as tables and a verdict.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/statvfs.h>

#include "host_report.h"
#include "lshdp/cli/command.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/network_probe.h"
#include "lshdp/comm/shared_folder.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/text.h"
#include "lshdp/train/evaluate.h"
#include "model_option.h"
#include "same_start.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kConnectionSeconds = 8;
constexpr double kFolderSeconds = 3;
constexpr double kNetworkSeconds = 1.5;
constexpr std::int64_t kNetworkBytes = 1 << 20;
constexpr const char* kWrong = "! ";  // before what is said about a file that does not serve

}  // namespace

Options check_options() {
  Options options("check", "Checks that all nodes are fit for a run, in less than 20 seconds.",
                  "mpirun --hostfile hosts lshdp check --model vit.json --data train.h5,test.h5 --results /shared/run");
  options.option("data", "FILE,..", "data sets that all nodes must have")
      .option("model", "MODEL", "a preset, a JSON file, a folder or an exported file, which the data must fit")
      .option("context", "T", "with a model of texts: tokens of a sample (default: as many as the model has positions)")
      .option("init", "FILE", "weights that rank 0 must have")
      .option("results", "DIR", "a folder that all nodes must share");
  return options;
}

namespace {

/// What is found, and what is wrong with it; the same on all ranks.
struct Findings {
  std::vector<std::pair<std::string, std::vector<std::string>>> files;  // name; by rank what was found
  std::vector<std::string> problems;
};

/// Runs `find`; an error in our words becomes its answer.
std::string answer_of(const std::function<std::string()>& find) {
  try {
    return find();
  } catch (const Error& error) {
    return kWrong + std::string(error.what());
  }
}

/// What all ranks find of one file: it must be there on all, or, where `on_all` is false, on rank 0's host, and be the
/// same wherever it is.
void look_at(const FileViews& views, Findings& findings, const std::string& name, const fs::path& path,
             const FileFact& fact, bool on_all) {
  const std::vector<std::string>& nodes = views.nodes();
  std::vector<std::string> answers =
      views.facts_of(path, [&](const fs::path& file) { return answer_of([&] { return fact(file); }); });
  const auto good =
      std::ranges::find_if(answers, [](const std::string& answer) { return !answer.starts_with(kWrong); });
  const std::string agreed = good == answers.end() ? "" : *good;
  std::vector<comm::Facts> facts;
  std::set<std::string> told;
  for (std::size_t rank = 0; rank < answers.size(); ++rank) {
    const bool wrong = answers[rank].starts_with(kWrong);
    facts.push_back({{fmt::format("{} {}", name, path.string()), wrong ? agreed : answers[rank]}});
    if (!wrong) continue;
    const std::string problem = fmt::format("{}: {}", nodes[rank], answers[rank].substr(2));
    if ((on_all || rank == 0) && told.insert(problem).second) findings.problems.push_back(problem);
  }
  for (const std::string& difference : comm::differences(facts, nodes))
    findings.problems.push_back(difference + (on_all ? "; copy one to all nodes" : "; all ranks would take rank 0's"));
  for (std::string& answer : answers)
    if (answer.starts_with(kWrong)) answer = "-";
  findings.files.emplace_back(name, std::move(answers));
}

void look_at_files(comm::Communicator& communicator, Findings& findings, const Values& values) {
  const FileViews views(communicator);
  std::optional<model::Model> model;
  if (values.has("model")) {
    const std::string name = values.text("model");
    try {
      model = shared_model_of_samples(communicator, values);
    } catch (const AgreedError& error) {
      findings.problems.emplace_back(error.what());
    }
    const std::string is_file = comm::on_rank_0(communicator, [&]() -> std::string {
      std::error_code none;
      return fs::is_regular_file(name, none) ? "y" : "";
    });
    if (!is_file.empty()) look_at(views, findings, "model", name, checksum_of_file, false);
  }
  if (values.has("data")) {
    for (const std::string& path : split_list(values.text("data"), "--data")) {
      look_at(
          views, findings, "data", path,
          [&](const fs::path& file) {
            if (model) train::open_for_model(file, *model);
            return data_fact(file);
          },
          true);
    }
  }
  if (values.has("init")) {
    look_at(
        views, findings, "init", values.text("init"),
        [](const fs::path& file) {
          const std::string sample = sample_of_files(file);
          if (sample.empty()) throw UsageError(fmt::format("cannot read {}: there is no such file", file.string()));
          return sample;
        },
        false);
  }
}

std::string free_disk(const fs::path& folder) {
  struct statvfs status = {};
  if (statvfs(folder.c_str(), &status) != 0) return "-";
  return format_size(static_cast<std::int64_t>(status.f_bavail) * static_cast<std::int64_t>(status.f_frsize));
}

/// A folder that was not there before is removed again, with those above it.
void look_at_results(comm::Communicator& communicator, Findings& findings, const fs::path& folder) {
  NewFolders made;
  std::string shared = "shared";
  try {
    comm::on_rank_0(communicator, [&] {
      made = NewFolders(folder, "--results");
      return std::string();
    });
    comm::require_shared_folder(communicator, folder, "--results", kFolderSeconds);
  } catch (const AgreedError& error) {
    findings.problems.emplace_back(error.what());
    shared = "not shared";
  }
  findings.files.emplace_back("results",
                              std::vector<std::string>(static_cast<std::size_t>(communicator.size()), shared));
  findings.files.emplace_back("free disk", comm::all_gather_text(communicator, free_disk(folder)));
}

/// The first ranks of the nodes, with the ranks of each.
struct Node {
  std::size_t first;
  std::vector<std::size_t> ranks;
};

std::vector<Node> nodes_of(const std::vector<HostReport>& reports) {
  std::vector<Node> nodes;
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    auto node =
        std::ranges::find_if(nodes, [&](const Node& known) { return reports[known.first].node == reports[rank].node; });
    if (node == nodes.end()) node = nodes.insert(node, {rank, {}});
    node->ranks.push_back(rank);
  }
  return nodes;
}

/// The last digits of a checksum, enough to tell two apart.
std::string short_checksum(const std::string& checksum) {
  return checksum.substr(checksum.size() - std::min<std::size_t>(8, checksum.size()));
}

std::string with_short_checksums(std::string text) {
  const std::string begin = "xxh3-128:";
  constexpr std::size_t digits = 32;
  for (std::size_t at = text.find(begin); at != std::string::npos; at = text.find(begin)) {
    const std::string all = text.substr(at, begin.size() + digits);
    text.replace(at, all.size(), short_checksum(all));
  }
  return text;
}

std::string program_table(const std::vector<HostReport>& reports) {
  std::vector<std::string> head{"node", "ranks", "program", "sources", "executable"};
  for (const auto& [name, version] : reports.front().libraries) head.push_back(name);
  Table table(head);
  for (const Node& node : nodes_of(reports)) {
    const HostReport& report = reports[node.first];
    std::vector<std::string> row{report.node, fmt::format("{}", fmt::join(node.ranks, ",")), report.program.version,
                                 short_checksum(report.program.sources), short_checksum(report.executable)};
    for (const auto& [name, version] : report.libraries) row.push_back(version);
    table.add(std::move(row));
  }
  return table.to_string();
}

std::string host_table(const std::vector<HostReport>& reports, const std::vector<double>& links) {
  Table table({"node", "devices", "cores", "bound to", "threads a rank", "free memory", "clock", "link", "interfaces"});
  for (const Node& node : nodes_of(reports)) {
    const HostReport& report = reports[node.first];
    const double rate = links[node.first];
    table.add({report.node, report.devices, std::to_string(report.allowed_cores), std::to_string(report.own_cores),
               std::to_string(report.threads), format_size(report.free_memory),
               fmt::format("{:+.2f} s", report.clock_seconds - reports.front().clock_seconds),
               rate > 0 ? format_size(static_cast<std::int64_t>(rate)) + "/s" : "-", comm::to_text(report.interfaces)});
  }
  return table.to_string();
}

std::string file_table(const std::vector<HostReport>& reports, const Findings& findings) {
  if (findings.files.empty()) return "";
  std::vector<std::string> head{"node"};
  for (const auto& [name, answers] : findings.files) head.push_back(name);
  Table table(head);
  for (const Node& node : nodes_of(reports)) {
    std::vector<std::string> row{reports[node.first].node};
    for (const auto& [name, answers] : findings.files) row.push_back(with_short_checksums(answers[node.first]));
    table.add(std::move(row));
  }
  return "\n" + table.to_string();
}

void check(comm::Communicator& communicator, const Values& values) {
  Findings findings;
  const comm::Hosts hosts = comm::gather_hosts(communicator);
  const std::vector<HostReport> reports = gather_reports(communicator);
  const bool chosen = comm::on_rank_0(communicator, [] { return std::string(network_is_chosen() ? "y" : ""); }) == "y";
  findings.problems = problems_of(reports, chosen);
  comm::require_same(communicator, option_facts(values), "start it with the same command line on all nodes");
  look_at_files(communicator, findings, values);
  if (values.has("results")) look_at_results(communicator, findings, values.text("results"));
  const comm::NetworkMeasurement network = comm::probe_network(communicator, kNetworkBytes, kNetworkSeconds);
  const std::vector<double> links = comm::probe_links(communicator, kNetworkSeconds);
  std::string text =
      fmt::format("{}\n{}{}", program_table(reports), host_table(reports, links), file_table(reports, findings));
  if (network.bytes_per_second > 0) {
    text +=
        fmt::format("\nnetwork: latency {}, {}/s where all links are busy\n", format_seconds(network.latency_seconds),
                    format_size(static_cast<std::int64_t>(network.bytes_per_second)));
  }
  for (const std::string& problem : findings.problems) text += fmt::format("wrong: {}\n", problem);
  if (findings.problems.empty()) text += fmt::format("good: {}\n", comm::describe(hosts));
  print_on_rank_0(communicator, text);
  if (findings.problems.empty()) return;
  const std::size_t count = findings.problems.size();
  throw AgreedError(fmt::format("{} {} wrong; see above", count, count == 1 ? "thing is" : "things are"), 1);
}

}  // namespace

int run_check(const Arguments& arguments) {
  const Values values = check_options().parse(arguments);
  if (values.help()) return 0;
  return with_ranks(
      "check", [&](comm::Communicator& communicator) { check(communicator, values); }, kConnectionSeconds);
}

}  // namespace lshdp::cli
